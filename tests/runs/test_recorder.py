"""The views of the record: whole after a resumption, and as cheap to add to however much there is."""

import inspect
import json
from pathlib import Path

import pytest

from charrnn.errors import RunError
from charrnn.runs.directory import RunDirectory
from charrnn.runs.plot import MOST_POINTS, LossPlot
from charrnn.runs.recorder import NoRecorder, Recorder
from charrnn.runs.wandb_run import WandB

PNG = b"\x89PNG"


def recorder(path: Path, *, first_step: int = 0) -> Recorder:
    wandb = WandB(asked="disabled", project="charrnn", run_dir=path, run_id="1", config={})
    return Recorder(RunDirectory(path), wandb, first_step=first_step, evaluated=True, total_steps=9)


def record(step: int) -> dict[str, float | str]:
    return {"step": step, "characters_seen": 400 * step, "validation_loss_nats": 2 / step, "sample": f"é{step}\r\n"}


def samples(*steps: int) -> bytes:
    return "".join(f"=== step {step} ===\né{step}\r\n\n\n" for step in steps).encode()


def test_an_evaluation_reads_nothing_of_those_before(tmp_path: Path) -> None:
    ours = recorder(tmp_path)
    ours.record(record(1))
    (tmp_path / "metrics.jsonl").write_text("no record\n")
    ours.record(record(2))
    ours.draw()
    assert (tmp_path / "samples.txt").read_bytes() == samples(1, 2)
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


def test_a_resumed_run_has_the_views_of_what_is_kept(tmp_path: Path) -> None:
    ours = recorder(tmp_path)
    for step in (1, 2, 3):
        ours.record(record(step))
    again = recorder(tmp_path, first_step=2)
    assert (tmp_path / "samples.txt").read_bytes() == samples(1, 2)
    again.record(record(4))
    assert (tmp_path / "samples.txt").read_bytes() == samples(1, 2, 4)
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 4]
    again.draw()
    whole, picture = LossPlot(title=tmp_path.name), (tmp_path / "loss.png").read_bytes()
    for step in (1, 2, 4):
        whole.add(record(step))
    whole.draw(tmp_path / "whole.png")
    assert (tmp_path / "whole.png").read_bytes() == picture


def test_the_other_processes_recorder_has_the_same_methods() -> None:
    ours, none = (
        {name: inspect.signature(method) for name, method in vars(kind).items() if not name.startswith("_")}
        for kind in (Recorder, NoRecorder)
    )
    assert none == ours


def test_samples_that_cannot_be_written(tmp_path: Path) -> None:
    ours = recorder(tmp_path)
    (tmp_path / "samples.txt").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"samples.txt: cannot be written \(No space left on device\): free space"):
        ours.record(record(1))


def test_a_curve_has_so_many_points_at_most_and_its_own_mean() -> None:
    plot = LossPlot(title="")
    count = 5 * MOST_POINTS + 3
    for step in range(1, count + 1):
        plot.add({"step": step, "characters_seen": 1e6 * step, "train_loss_nats": 2.0 * step})
    points = plot.curves["train"].points()
    assert MOST_POINTS / 2 <= len(points) <= MOST_POINTS
    assert points[0] == (4.5, 9.0), "eight neighbours are one point"
    assert points[-1][0] > count - 8, "the newest are there"
    characters = [x for x, _ in points]
    assert characters == sorted(characters)
    assert all(loss == 2 * x for x, loss in points)
