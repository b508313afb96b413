"""Which checkpoint a name means, and what is said where it means none."""

from pathlib import Path

import pytest

from charrnn.errors import RunError
from charrnn.runs.checkpoint import write_checkpoint
from charrnn.runs.choice import choose_checkpoint, find_checkpoint
from charrnn.runs.directory import RunDirectory
from tests.runs.test_checkpoint import example

COMPLAINT = "the source is {}: it must be"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose best checkpoint is neither the first nor the last."""
    for step, loss in ((1, 1.5), (2, 1.2), (3, 1.4)):
        write_checkpoint(tmp_path / "run" / "checkpoints", example(step, loss))
    (tmp_path / "run" / "config.json").touch()
    return tmp_path / "run"


@pytest.mark.parametrize(("named", "step"), [(".", 2), ("checkpoints/step-00000003", 3)])
def test_a_run_means_its_best_checkpoint_and_a_checkpoint_itself(run: Path, named: str, step: int) -> None:
    directory, checkpoint = find_checkpoint(str(run / named), COMPLAINT, pytest.fail)
    assert (directory.path, checkpoint.progress.step) == (run, step)


def test_what_is_damaged_is_told_and_passed_over_unless_it_is_named(run: Path) -> None:
    spoilt = run / "checkpoints" / "step-00000002"
    (spoilt / "model.safetensors").write_bytes(b"")
    said: list[str] = []
    assert find_checkpoint(str(run), COMPLAINT, said.append)[1].progress.step == 3
    assert [line.split(": ")[0] for line in said] == [str(spoilt / "model.safetensors")]
    with pytest.raises(RunError, match=r"step-00000002/model\.safetensors: has 0 bytes"):
        find_checkpoint(str(spoilt), COMPLAINT, pytest.fail)


def test_a_run_without_a_checkpoint_and_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=rf"^the source is '{tmp_path}': it must be a run directory or one of its check"):
        find_checkpoint(str(tmp_path), COMPLAINT, pytest.fail)
    (tmp_path / "config.json").touch()
    with pytest.raises(RunError, match=f"^{tmp_path}: has no checkpoint yet: name a run that has one$"):
        find_checkpoint(str(tmp_path), COMPLAINT, pytest.fail)


def test_the_checkpoints_that_there_are_are_named_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for step in (99_999_999, 100_000_000, 5):
        path = tmp_path / "checkpoints" / f"step-{step:08d}"
        path.mkdir(parents=True)
        (path / "manifest.json").touch()
    with pytest.raises(RunError, match="it has: step-00000005, step-99999999, step-100000000"):
        choose_checkpoint(RunDirectory(tmp_path), "step-1", print)
