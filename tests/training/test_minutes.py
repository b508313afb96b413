"""--minutes and --patience: what they choose, that it is the run's for ever, and that it then ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.config import TrainConfig
from charrnn.errors import RunError
from charrnn.runs.checkpoint import newest_first, read_checkpoint
from charrnn.training import budget
from charrnn.training.data import RunText
from tests.training.test_distributed import launch
from tests.training.test_golden_losses import write_text

QUIET = ("--log.wandb", "disabled", "--log.sample-length", 0, "--log.every", 1, "--threads", 1)
MINUTES = 0.25
"""Of which six seconds are for the export."""


@pytest.fixture
def text(tmp_path: Path) -> Path:
    write_text(tmp_path / "words.txt")
    return tmp_path / "words.txt"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def config_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "config.json").read_text())["config"])


def records_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def ends_low(run: Path) -> bool:
    """Whether the learning rate does."""
    rates = [record["learning_rate"] for record in records_of(run) if "learning_rate" in record]
    if len(rates) < 20:
        pytest.skip(
            f"not here: the machine had time for {len(rates)} steps only: nothing can be said of their learning rates"
        )
    return rates[-1] < 0.2 * max(rates)


def test_the_text_and_the_time_choose(
    trains: Callable[..., int], text: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trains(text, "--minutes", MINUTES, "--patience", 100, "--run-dir", run, *QUIET) == 0
    config = config_of(run)
    size = budget.SIZES[0]  # of 6,300 characters nothing larger is worth its time
    assert config["model"]["hidden_size"] == size.hidden_size
    assert config["optimiser"]["learning_rate"] == size.learning_rate
    assert (run / "model.onnx").exists()
    assert ends_low(run), "whenever that was"
    said = capsys.readouterr().out
    assert "\ntime      done by " in said
    assert said.count(" s of 15 s\n") == 1, said


def test_more_time_and_more_text_never_choose_a_smaller_model(text_of: Callable[[str], RunText]) -> None:
    sizes = [TrainConfig().changed(size.settings()) for size in budget.SIZES]
    chosen = {
        characters: [
            budget.largest(sizes, text_of("ab" * (characters // 2)), steps) for steps in 10.0 ** np.arange(3, 15)
        ]
        for characters in (10_000, 300_000, 3_000_000)
    }
    assert all(indices == sorted(indices) for indices in chosen.values())
    largest = [indices[-1] for indices in chosen.values()]
    assert largest == sorted(largest)
    assert largest[0] < largest[-1]
    assert all(indices[0] == 0 for indices in chosen.values()), "there is always one"


def test_a_time_that_is_too_short_is_told_and_there_is_a_model(
    trains: Callable[..., int], text: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (text, "--minutes", 0.001, "--model.hidden-size", 8, "--model.recurrence", "fused")
    assert trains(*words, "--run-dir", run, *QUIET) == 0
    assert "\ntime      0 s are too short here" in capsys.readouterr().out
    assert records_of(run)[-1]["step"] == 1
    assert (run / "model.onnx").exists()


def test_flags_win_and_presets_have_their_own(trains: Callable[..., int], text: Path, run: Path) -> None:
    flags = ("--model.hidden-size", 12, "--model.dropout=0", "--epochs", 2, "--evaluate_every", 5)
    assert trains(text, "--minutes", 2, "--run-dir", run, *flags, *QUIET) == 0
    config = config_of(run)
    assert (config["model"]["hidden_size"], config["model"]["dropout"]) == (12, 0)
    assert (config["epochs"], config["evaluate_every"]) == (2, 5)
    steps = [record["step"] for record in records_of(run) if "validation_loss_nats" in record]
    assert steps == [5, 10, 12], "two passes, though there is time for more"


def test_what_was_chosen_stays_and_what_was_spent_counts(
    trains: Callable[..., int], text: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (text, "--minutes", MINUTES, "--run-dir", run, *QUIET)
    assert trains(*words, "--max-steps", 3) == 0
    before, (last, *_) = config_of(run), newest_first(run / "checkpoints")
    spent = read_checkpoint(last).progress.seconds
    assert 0 < spent < 60 * MINUTES
    other = budget.Size(cell="lstm", num_layers=1, hidden_size=3, learning_rate=0.1, characters=0)
    monkeypatch.setattr(budget, "SIZES", (other,))  # as another machine or release would choose
    assert trains(*words) == 0
    assert config_of(run)["model"] == before["model"]
    assert read_checkpoint(newest_first(run / "checkpoints")[0]).progress.seconds > spent
    with pytest.raises(RunError, match=rf"holds another run \(model.hidden_size {before['model']['hidden_size']} -> 9"):
        trains(*words, "--model.hidden-size", 9)
    with pytest.raises(RunError, match=r"holds another run \("):
        trains(*words, "--optimiser.beta1", 0.5)


@pytest.mark.distributed
def test_all_processes_choose_the_same(text: Path, run: Path) -> None:
    finished = launch(run, 2, text, "--minutes", 0.3, "--patience", 100, *QUIET)
    assert finished.returncode == 0, finished.stderr
    assert ends_low(run)


def test_a_run_that_finds_nothing_better_ends(
    trains: Callable[..., int], text: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a rate far too high the validation loss soon rises."""
    words = (text, "--run-dir", run, "--patience", 2, "--evaluate-every", 1, "--epochs", 200, "--batch.size", 8)
    flags = ("--model.hidden-size", 8, "--optimiser.learning-rate", 1, "--optimiser.schedule", "constant")
    assert trains(*words, *flags, *QUIET) == 0
    losses = [record["validation_loss_nats"] for record in records_of(run) if "validation_loss_nats" in record]
    assert len(losses) - 1 - losses.index(min(losses)) == 2
    assert "\nenough: the last 2 evaluations found nothing better (--patience)\n" in capsys.readouterr().out
    # The same command finds that, too.
    assert trains(*words, *flags, *QUIET) == 0
    assert [record for record in records_of(run) if "validation_loss_nats" in record][-1]["step"] == len(losses)
