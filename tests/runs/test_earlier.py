"""What charrnn 0.1.0 wrote goes on, is exported and writes the same text, for ever; see golden/run-0.1.0/README.md."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import charrnn
from charrnn.cli import export
from charrnn.config import TrainConfig
from charrnn.errors import RunError
from charrnn.runs import earlier
from charrnn.runs.checkpoint import Checkpoint, read_checkpoint
from charrnn.runs.directory import RunDirectory, as_json
from charrnn.runs.earlier import GONE, LACKED, as_today
from tests.anything import one_line
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "run-0.1.0"
MODES = pytest.mark.parametrize("mode", ["stream", "windows"])
FLAGS = {
    "stream": "--model.num-layers 2 --model.dropout 0.1 --batch.accumulation 2 --optimiser.warmup-steps 10",
    # A hundred steps of warm-up, in a run of sixty: 0.1.0 did not shorten it.
    "windows": "--batch.mode windows --batch.stride 20 --text.normaliser lowercase",
}
COMMON = (
    "words.txt --run-dir run --epochs 9 --max-steps 60 --batch.size 5 --batch.length 20 --model.hidden-size 8 "
    "--model.embedding-size 5 --model.recurrence fused --threads 1 --log.wandb disabled --evaluate-every 20 "
    "--log.every 7 --log.sample-length 40 --optimiser.learning-rate 2e-2 --text.validation-fraction 0.1 "
    "--text.test-fraction 0.1"
)
TOLERANCE = 1e-5
"""On the machine that made them the numbers are the same bit for bit; another CPU's matrix products sum in another
order, which 17 steps from step 43 make at most this of."""


@pytest.fixture
def run(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old run, where it was made: `run`, beside its text."""
    shutil.copy(GOLDEN / "words.txt", tmp_path)
    shutil.copytree(GOLDEN / mode / "run", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return Path("run")


def setting(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the settings in a run's config.json."""
    description = json.loads((run / "config.json").read_text(encoding="utf-8"))
    change(description["config"])
    (run / "config.json").write_text(json.dumps(description), encoding="utf-8")


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_close(ours: Checkpoint, theirs: Checkpoint) -> None:
    for kind in ("model", "optimiser", "state"):
        left: dict[str, Tensor] = getattr(ours, kind)
        right: dict[str, Tensor] = getattr(theirs, kind)
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].shape == right[name].shape
            assert float((left[name] - right[name]).abs().max()) <= TOLERANCE, (kind, name)


@MODES
def test_it_goes_on_as_it_would_have_gone_on_then(mode: str, run: Path, trains: Callable[..., int]) -> None:
    """To the same losses, parameters, moments and samples; what it then exports writes the same text."""
    ended = GOLDEN / mode / "ended"
    setting(run, lambda config: config.update(compile=True))  # which charrnn has no more
    assert trains(*COMMON.split(), *FLAGS[mode].split()) == 0
    ours, theirs = records(run), records(ended)
    assert [(r["step"], r.keys()) for r in ours] == [(r["step"], r.keys()) for r in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        for name in mine.keys() - {"characters_per_second", "sample"}:
            assert math.isclose(mine[name], other[name], abs_tol=TOLERANCE), (name, mine["step"])
    assert (run / "samples.txt").read_bytes() == (ended / "samples.txt").read_bytes()
    checkpoint = read_checkpoint(run / "checkpoints" / "step-00000060")
    theirs_at_the_end = read_checkpoint(ended / "checkpoint")
    assert_close(checkpoint, theirs_at_the_end)
    now, then = checkpoint.progress, theirs_at_the_end.progress
    assert (now.step, now.epoch, now.characters_seen) == (then.step, then.epoch, then.characters_seen)
    assert RunDirectory(run).read_description()["config"]["behaviour"] == 1, "for ever"
    assert sampled(run / "model.onnx") == (ended / "sampled.txt").read_text(encoding="utf-8")


def sampled(model: Path) -> str:
    """What `charrnn-sample` prints of it."""
    return charrnn.generate(model, "we ", 300, seed=3, temperature=0.7) + "\n"


@MODES
def test_its_model_writes_the_same_text(mode: str) -> None:
    assert sampled(GOLDEN / mode / "run" / "model.onnx") == (GOLDEN / mode / "sampled.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", ["windows"])
def test_it_is_exported(mode: str, run: Path) -> None:
    """Also where the recurrence that it was trained with is no more."""
    setting(run, lambda config: config["model"].update(recurrence="triton"))
    assert export.run([str(run), "--checkpoint", "step-00000040", "--output", "new.onnx"]) == 0
    assert charrnn.load("new.onnx").training["step"] == 40


def test_every_setting_was_there_then_or_has_the_value_of_then() -> None:
    """A setting that is new wants a line in LACKED; one that goes, a word in GONE."""
    then = json.loads((GOLDEN / "stream" / "run" / "config.json").read_text(encoding="utf-8"))["config"]
    today = as_json(TrainConfig())
    assert names(as_today(then)) == names(today)
    assert not GONE & names(today)
    assert LACKED.keys() <= names(today)


def names(settings: dict[str, Any]) -> set[str]:
    inner = {f"{n}.{name}" for n, group in settings.items() if isinstance(group, dict) for name in group}
    return inner | {name for name, value in settings.items() if not isinstance(value, dict)}


def test_what_came_later_has_the_value_of_then_and_what_has_gone_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "LACKED", {"behaviour": 1, "text.min_count": 0, "averaging.decay": 0.5})
    monkeypatch.setattr(earlier, "GONE", {"compile", "text.old", "none.such"})
    assert as_today({"seed": 3, "compile": True, "text": {"column": "x", "old": 7}}) == {
        "seed": 3,
        "behaviour": 1,
        "text": {"column": "x", "min_count": 0},
        "averaging": {"decay": 0.5},
        "none": {},
    }
    assert as_today({"behaviour": 2, "text": "not a group"})["behaviour"] == 2


@pytest.mark.parametrize("mode", ["stream"])
@pytest.mark.parametrize("behaviour", [3, "1", None])
def test_what_a_later_charrnn_does_is_not_guessed(mode: str, run: Path, behaviour: object) -> None:
    setting(run, lambda config: config.update(behaviour=behaviour))
    with pytest.raises(RunError, match=r"config.json: behaviour is .*, and this charrnn has 1 to 2: install") as caught:
        RunDirectory(run).resumes(TrainConfig())
    assert one_line(caught.value)
