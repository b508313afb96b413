"""A run that is told to stop saves a checkpoint first; the same command makes it the run that was never disturbed."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from charrnn.processes.interruptions import Interruptions
from charrnn.runs.checkpoint import newest_first, read_checkpoint
from tests.conftest import ROOT, TIMEOUT_SECONDS, command_line

STEPS, EVALUATIONS, RECORDS = 40, 20, 7
# Every step is in some record of the training loss; dropout, so that randomness has to be right too.
FLAGS = (
    "--log.sample-length 9 --log.wandb disabled --threads 1 --model.dropout 0.1 --model.hidden-size 24 "
    f"--evaluate-every {EVALUATIONS} --log.every {RECORDS}"
).split()
ENDLESS = ["--max-steps", 10**6, "--epochs", 10**6]

Trains = Callable[..., int]


def words(run: Path | str, *more: object) -> list[object]:
    # By name: what each of two runs measures could be another backend, and its bits with it.
    return ["alphabet", *FLAGS, "--model.recurrence", "fused", "--max-steps", STEPS, "--run-dir", run, *more]


def records(run: Path) -> list[dict[str, Any]]:
    """Everything that is recorded, but for the speed."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name != "characters_per_second"} for line in lines
    ]


def newest(run: Path) -> int:
    return read_checkpoint(newest_first(run / "checkpoints")[0]).progress.step


def checkpoints_of(run: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in (run / "checkpoints").iterdir())


def assert_same_run(run: Path, other: Path) -> None:
    """The same records in the same order, the same model, the same last checkpoint, bit for bit."""
    assert records(run) == records(other)
    last = newest_first(run / "checkpoints")[0]
    for name in ("model.safetensors", "optimiser.safetensors", "state.safetensors", "progress.json"):
        assert (last / name).read_bytes() == (other / "checkpoints" / last.name / name).read_bytes(), name
    assert (run / "samples.txt").read_bytes() == (other / "samples.txt").read_bytes()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture
def undisturbed(place: Path, trains: Trains) -> Path:
    """The run that nothing has happened to. To be read, never written to."""
    run = place / "run"
    if not run.exists():
        assert trains(*words(run)) == 0
    return run


# At a step that we choose


def test_the_run_that_was_never_disturbed_is_whole(undisturbed: Path, trains: Trains) -> None:
    def at(name: str) -> list[int]:
        return [record["step"] for record in records(undisturbed) if name in record]

    assert at("train_loss_nats") == [7, 14, 20, 21, 28, 35, 40]
    assert at("validation_loss_nats") == at("sample") == [20, 40]
    assert at("test_loss_nats") == [40]


def test_a_stopped_run_goes_on_as_if_nothing_had_been(
    undisturbed: Path, trains: Trains, ends_at: Trains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first record, at one, between two, at an evaluation that is due, after one, at the end, at once."""
    reference, run, before = records(undisturbed), tmp_path / "run", 0
    stops = [(1, 15), (7, 2), (10, 10), (11, 15), (20, 15), (21, 2), (33, 15), (39, 15), (40, 15)]
    for stop, number in stops:
        ends_at(stop, number, *words(run))
        said = capsys.readouterr().out
        assert (f"run       {run}, resumed at step {before}\n" in said) == (before > 0)
        assert "8 epochs; a short run: 4 steps of warm-up, not 10\n" in said
        assert said.splitlines()[-1] == f"stopped by signal {number} at step {stop}; the same command continues"
        assert newest(run) == stop
        # All that is due by now, but the evaluation of this step: it was not made before the stop.
        due = [r for r in reference if r["step"] < stop or (r["step"] == stop and "train_loss_nats" in r)]
        assert records(run) == due, stop
        before = stop
    assert not (run / "model.onnx").exists()
    assert trains(*words(run)) == 0
    assert_same_run(run, undisturbed)
    assert (run / "model.onnx").exists()


def test_a_run_that_crashed_goes_on_from_its_last_checkpoint(
    undisturbed: Path, trains: Trains, ends_at: Trains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it had recorded after that is recorded anew, once."""
    run, every = tmp_path / "run", ["--checkpoint-every", 7]
    goes_on = [
        (6, ""),
        (13, ", resumed at its beginning: it has no checkpoint yet"),
        (20, ", resumed at step 7"),
        (21, ", resumed at step 14"),
        (37, ", resumed at step 20"),
    ]
    for crash, where in goes_on:
        ends_at(crash, 0, *words(run, *every))
        assert f"run       {run}{where}\n" in capsys.readouterr().out
    assert trains(*words(run, *every)) == 0
    assert f"run       {run}, resumed at step 35\n" in capsys.readouterr().out
    assert_same_run(run, undisturbed)


def test_a_finished_run_that_is_resumed_has_one_record_of_the_test_split(
    undisturbed: Path, trains: Trains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(undisturbed, tmp_path / "run")
    capsys.readouterr()
    assert trains(*words(run)) == 0
    assert f"step {STEPS}/{STEPS}" not in capsys.readouterr().out, "its last evaluation was made and counts"
    assert_same_run(run, undisturbed)
    assert trains(*words(run, "--max-steps", STEPS + 5)) == 0
    steps = [record["step"] for record in records(run)]
    assert steps == sorted(steps)
    assert [record["step"] for record in records(run) if "best_step" in record] == [STEPS + 5]


def test_from_an_older_checkpoint_the_later_ones_are_forgotten(
    undisturbed: Path, trains: Trains, ends_at: Trains, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, every = tmp_path / "run", ["--checkpoint-every", 10, "--keep-checkpoints", 9]
    ends_at(31, signal.SIGTERM, *words(run, *every))
    assert checkpoints_of(run) == [10, 20, 30, 31]
    capsys.readouterr()
    ends_at(13, signal.SIGTERM, *words(run, *every, "--resume", run / "checkpoints" / "step-00000010"))
    assert f"run       {run}, resumed at step 10\n" in capsys.readouterr().out
    assert checkpoints_of(run) == [10, 13]
    assert [record["step"] for record in records(run)] == [7]
    assert trains(*words(run, *every)) == 0
    assert_same_run(run, undisturbed)


# Checkpoints between


@pytest.mark.parametrize(("keep", "left"), [(1, [20, 36]), (3, [20, 28, 35, 36])])
def test_checkpoints_every_some_steps(ends_at: Trains, tmp_path: Path, keep: int, left: list[int]) -> None:
    """The newest are kept, and the best: that of the one evaluation so far."""
    run = tmp_path / "run"
    ends_at(36, signal.SIGTERM, *words(run, "--checkpoint-every", 7, "--keep-checkpoints", keep))
    assert checkpoints_of(run) == left
    progress = [read_checkpoint(path).progress for path in newest_first(run / "checkpoints")]
    assert [at.step for at in progress if at.evaluated] == [20]
    assert [at.step for at in progress if at.validation_loss_nats is not None] == [20]


@pytest.mark.parametrize(("minutes", "steps"), [(1e-6, [*range(1, 7)]), (60, [6]), (0, [6])])
def test_checkpoints_every_some_minutes(ends_at: Trains, tmp_path: Path, minutes: float, steps: list[int]) -> None:
    """A step takes longer than 60 microseconds."""
    flags = ["--checkpoint-minutes", minutes, "--keep-checkpoints", 99]
    ends_at(6, signal.SIGTERM, *words(tmp_path / "run", *flags))
    assert checkpoints_of(tmp_path / "run") == steps


# What interrupts


def test_the_first_signal_is_noted_and_the_second_has_its_usual_effect(accelerator: Accelerator) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGUSR2)
    with Interruptions(accelerator, stop_signal=signal.SIGUSR2, checkpoint_minutes=0) as interruptions:
        assert interruptions.agreed_collective(1) == (0, False)
        assert signal.getsignal(signal.SIGUSR2) != before[1]
        os.kill(os.getpid(), signal.SIGUSR2)
        assert interruptions.agreed_collective(2) == (signal.SIGUSR2, False)
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGUSR2)) == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_signals_are_left_as_they_were(accelerator: Accelerator) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [*map(signal.getsignal, numbers)]
    with Interruptions(accelerator, stop_signal=0, checkpoint_minutes=0):
        assert [number for number, was in zip(numbers, before, strict=True) if signal.getsignal(number) != was] == [
            signal.SIGTERM,
            signal.SIGINT,
        ]
    assert [*map(signal.getsignal, numbers)] == before


@pytest.mark.parametrize("installed", [1, 2, 3])
def test_a_signal_while_the_handlers_are_being_installed_is_noted(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, installed: int
) -> None:
    """It comes when one, two, or all of three have their handler; then all are as they were."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [*map(signal.getsignal, numbers)]
    set_handler, calls = signal.signal, 0

    def install(number: int, handler: Any) -> Any:
        nonlocal calls
        previous = set_handler(number, handler)
        calls += 1
        if calls == installed:
            os.kill(os.getpid(), number)
        return previous

    interruptions = Interruptions(accelerator, stop_signal=signal.SIGUSR1, checkpoint_minutes=0)
    with monkeypatch.context() as patch:
        patch.setattr(signal, "signal", install)
        interruptions.__enter__()
    try:
        assert interruptions.agreed_collective(1)[0] in numbers
        assert [*map(signal.getsignal, numbers)] == before, "a second one has its usual effect"
    finally:
        interruptions.__exit__(None, None, None)
    assert [*map(signal.getsignal, numbers)] == before


def test_a_handler_that_is_not_python_s_is_no_trouble(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of a library in C: Python can neither say which nor set it again."""
    before = signal.getsignal(signal.SIGUSR2)
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGUSR2 else signal.SIG_DFL)
        interruptions = Interruptions(accelerator, stop_signal=signal.SIGUSR2, checkpoint_minutes=0)
        interruptions._signals = {signal.SIGUSR2}
        with interruptions:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert interruptions.agreed_collective(1) == (signal.SIGUSR2, False)
    assert signal.getsignal(signal.SIGUSR2) == before == signal.SIG_DFL


def test_the_minutes_count_from_the_last_checkpoint(accelerator: Accelerator) -> None:
    with Interruptions(accelerator, stop_signal=0, checkpoint_minutes=0.05 / 60) as interruptions:
        assert interruptions.agreed_collective(1) == (0, False)
        time.sleep(0.06)
        assert interruptions.agreed_collective(2) == interruptions.agreed_collective(3) == (0, True)
        interruptions.saved()
        assert interruptions.agreed_collective(4) == (0, False)


# Real processes


@contextmanager
def started(run: Path, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A training command, once it has made a record; killed where it still runs in the end."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        while not (run / "metrics.jsonl").exists() or not records(run):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        yield process
    finally:
        process.kill()
        process.communicate()


def train_command(run: Path, *more: object) -> list[str]:
    return command_line("-m", "charrnn.cli.train", *words(run, *more))


def assert_stops(run: Path, process: subprocess.Popen[str], number: int) -> None:
    """Wait for a process that was sent a signal: what it must say and leave."""
    stdout, stderr = process.communicate(timeout=TIMEOUT_SECONDS)
    assert stderr == ""
    assert stdout.splitlines()[-1] == f"stopped by signal {number} at step {newest(run)}; the same command continues"


def test_of_two_commands_at_once_one_is_refused_and_the_other_does_not_notice(
    undisturbed: Path, trains: Trains, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    both = [
        subprocess.Popen(train_command(run), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=TIMEOUT_SECONDS) for process in both]
    trained, refused = sorted((process.returncode, *output) for process, output in zip(both, said, strict=True))
    assert (trained[0], trained[2]) == (0, "")
    there = f"{run}: another process is training there: wait for its end, or name another --run-dir"
    assert refused == (2, "", f"charrnn-train: error: {there}\n")
    assert_same_run(run, undisturbed)
    assert (run / "model.onnx").read_bytes() == (undisturbed / "model.onnx").read_bytes()


def test_control_c_saves_a_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with started(run, train_command(run, *ENDLESS)) as process:
        process.send_signal(signal.SIGINT)
        assert_stops(run, process, signal.SIGINT)
    assert process.returncode == 130


def test_a_process_whose_launcher_is_gone_stops(tmp_path: Path) -> None:
    """The launcher is a shell of its name here, and is killed as the kernel does when memory is short."""
    run = tmp_path / "run"
    command = ["sh", "-c", '"$@" & wait', "accelerate", *train_command(run, *ENDLESS)]
    with started(run, command) as launcher:
        launcher.kill()
        assert_stops(run, launcher, signal.SIGTERM)
