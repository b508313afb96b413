"""A run that is told to stop saves a checkpoint first; resumed, it is the run that was never disturbed."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.training.checkpoint import latest, read_progress
from tests.conftest import ROOT, TIMEOUT_SECONDS, Finished, command_line, finish

STEPS = 300
# Every step is recorded, so that every step's loss can be compared; dropout, so that randomness has to be right too.
FLAGS = (
    f"--max-steps {STEPS} --evaluate-every 200 --log.every 1 --log.sample-length 0 --log.wandb disabled --threads 1 "
    "--model.dropout 0.1 --model.hidden-size 24"
)


def command(run: Path, *more: str) -> list[str]:
    return command_line("-m", "charrnn.cli.train", "alphabet", "--run-dir", run, *FLAGS.split(), *more)


@pytest.fixture(scope="module")
def undisturbed(once: Callable[[str, Callable[[Path], Finished]], Finished]) -> Finished:
    run = once("undisturbed", lambda path: finish(path, command(path)))
    assert run.returncode == 0, run.stderr
    return run


def losses(run: Path) -> dict[int, dict[str, Any]]:
    """What is recorded of every training step, but for the speed."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {
        record["step"]: {name: value for name, value in record.items() if name != "characters_per_second"}
        for record in records
        if "train_loss_nats" in record
    }


def stopped_by(number: int, run: Path, after_step: int) -> tuple[int, str, str]:
    """Start a run, send it the signal once it has recorded `after_step` steps; its status, stdout, stderr."""
    metrics = run / "metrics.jsonl"
    process = subprocess.Popen(
        command(run), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < after_step:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
        process.wait()
    return process.returncode, stdout, stderr


def assert_stopped(run: Path, number: int, after_step: int) -> int:
    """Stop a run with a signal and check what it says and leaves; the step at which it stopped."""
    returncode, stdout, stderr = stopped_by(number, run, after_step)
    assert (returncode, stderr) == (128 + number, "")
    step = max(losses(run))
    assert after_step <= step < STEPS, "it was stopped in the midst"
    assert stdout.splitlines()[-1] == f"stopped by signal {int(number)} at step {step}; continue with --resume"
    assert not (run / "model.onnx").exists()
    newest = latest(run / "checkpoints")
    assert newest is not None
    assert read_progress(newest).step == step
    return step


def test_control_c_saves_a_checkpoint(tmp_path: Path) -> None:
    assert_stopped(tmp_path / "run", signal.SIGINT, after_step=5)


def test_a_stopped_run_goes_on_as_if_nothing_had_been(undisturbed: Finished, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped_at = assert_stopped(run, signal.SIGTERM, after_step=20)
    resumed = finish(run, command(run, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed at step {stopped_at}" in resumed.stdout
    assert losses(run) == losses(undisturbed.run)
    last = f"checkpoints/step-{STEPS:08d}"
    for name in ("model.safetensors", "optimiser.safetensors", "state.safetensors"):
        assert (run / last / name).read_bytes() == (undisturbed.run / last / name).read_bytes(), name
    (test,) = resumed.records("test_loss_nats")
    assert test == undisturbed.records("test_loss_nats")[0]


def test_the_run_that_was_never_disturbed_is_whole(undisturbed: Finished) -> None:
    assert list(losses(undisturbed.run)) == list(range(1, STEPS + 1))
    assert [record["step"] for record in undisturbed.records("validation_loss_nats")] == [200, 300]
