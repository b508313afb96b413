"""The run directory belongs to one run: it is claimed once, resumed with the same settings, and never mixed up."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import RunError
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.config import TrainConfig
from charrnn.training.presets import PRESETS
from charrnn.training.run_directory import RunDirectory

CONFIG = PRESETS["alphabet"]()
VOCABULARY, NORMALISER = Vocabulary('\n "\\aé日😀'), Normaliser.named("notebook-spaced", "nfc")


def resumed(config: TrainConfig = CONFIG, **changes: Any) -> TrainConfig:
    return replace(config, resume=True, **changes)


@pytest.fixture
def made(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "runs" / "one")
    directory.check(CONFIG)
    assert not directory.path.parent.exists(), "checking makes nothing"
    directory.create(CONFIG, {"sha256": "0123"}, VOCABULARY, NORMALISER)
    return directory


def test_what_was_written_is_read(made: RunDirectory) -> None:
    assert made.read_vocabulary() == (VOCABULARY, NORMALISER)
    description = made.read_description()
    assert description["config"]["optimiser"]["learning_rate"] == 2e-2
    assert description["text"] == {"sha256": "0123"}
    assert description["environment"].keys() >= {"python", "torch", "numpy"}
    assert sorted(path.name for path in made.path.iterdir()) == ["config.json", "vocabulary.json"]


# A new run


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_new_run_wants_a_directory_of_its_own(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    if kind == "empty":
        path.mkdir()
    RunDirectory(path).check(CONFIG)


def test_a_directory_that_holds_a_run_is_not_overwritten(made: RunDirectory) -> None:
    with pytest.raises(RunError, match=re.escape(f"{made.path}: holds a run already: add --resume")):
        made.check(CONFIG)


@pytest.mark.parametrize("kind", ["file", "something inside"])
def test_what_is_no_run_is_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thesis"
    if kind == "file":
        path.write_text("chapter 1")
    else:
        path.mkdir()
        (path / "chapter1.txt").touch()
    with pytest.raises(RunError, match=r"thesis: exists and is not a run: name another --run-dir"):
        RunDirectory(path).check(CONFIG)


def test_a_path_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = RunDirectory(tmp_path / "file" / "run")
    directory.check(CONFIG)
    with pytest.raises(RunError, match=r"run/vocabulary.json: cannot be written \(Not a directory\)"):
        directory.create(CONFIG, {}, VOCABULARY, NORMALISER)


# The run that is here


def test_the_same_settings_may_go_on(made: RunDirectory) -> None:
    made.check(resumed())


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 999},
        {"max_steps": 5},
        {"evaluate_every": 7},
        {"keep_checkpoints": 9},
        {"threads": 3},
        {"run_dir": "elsewhere"},
        {"preset": "text"},
        {"log": replace(CONFIG.log, every=1, wandb="disabled")},
        {"text": replace(CONFIG.text, corpus=("the-same-text.txt",))},
    ],
)
def test_what_may_change(made: RunDirectory, changes: dict[str, Any]) -> None:
    made.check(resumed(**changes))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"seed": 1}, "seed 0 -> 1"),
        ({"mixed_precision": "bf16"}, "mixed_precision 'no' -> 'bf16'"),
        ({"model": replace(CONFIG.model, hidden_size=31)}, "model.hidden_size 30 -> 31"),
        ({"text": replace(CONFIG.text, normaliser=("lf",))}, "text.normaliser [] -> ['lf']"),
        ({"optimiser": replace(CONFIG.optimiser, clip_norm=2.0)}, "optimiser.clip_norm 1.0 -> 2.0"),
        ({"seed": 1, "batch": replace(CONFIG.batch, size=9)}, "batch.size 8 -> 9, seed 0 -> 1"),
    ],
)
def test_another_run_is_named_by_what_differs(made: RunDirectory, changes: dict[str, Any], difference: str) -> None:
    with pytest.raises(RunError, match=re.escape(f"holds another run ({difference}): give the same settings")):
        made.check(resumed(**changes))


def test_resuming_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"holds no run \(no config.json\): start one without --resume"):
        RunDirectory(tmp_path).check(resumed())


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"config": {}}', '"text"', "\udcff"])
def test_a_config_that_is_not_ours(made: RunDirectory, content: str) -> None:
    made.config.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"config.json: .*: restore it from a copy") as caught:
        made.check(resumed())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"vocabulary": {}, "normaliser": []}),
        json.dumps({"vocabulary": VOCABULARY.to_dict()}),
    ],
)
def test_a_vocabulary_that_is_not_ours(made: RunDirectory, content: str) -> None:
    made.vocabulary.write_text(content)
    with pytest.raises(RunError, match=r"vocabulary.json: cannot be read .*: restore it from a copy"):
        made.read_vocabulary()
