"""`charrnn.train`: what the command does, in this process, again and again, from a thread, on several processes."""

import json
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import charrnn
from charrnn.errors import ConfigError, RunError
from charrnn.runs.checkpoint import newest_first
from charrnn.training.learner import Learner
from tests.conftest import ROOT, TIMEOUT_SECONDS, command_line, finish
from tests.training.conftest import ends_at, trains  # noqa: F401
from tests.training.test_distributed import accelerate_launch

QUICK: dict[str, Any] = {
    **{"max_steps": 30, "evaluate_every": 10, "threads": 1},
    "log": {"wandb": "disabled", "sample_length": 9},
    "model": {"recurrence": "fused"},
}
FLAGS = "--max-steps 30 --evaluate-every 10 --threads 1 --log.wandb disabled --log.sample-length 9"
FLAGS += " --model.recurrence fused"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def parameters(run: Path) -> bytes:
    return (newest_first(run / "checkpoints")[0] / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def by_command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("command") / "run"
    made = finish(run, command_line("-m", "charrnn.cli.train", "alphabet", *FLAGS.split(), "--run-dir", run))
    assert made.returncode == 0, made.stderr
    return run


def test_the_run_is_the_command_s_bit_for_bit(by_command: Path) -> None:
    torch.manual_seed(8)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(8)
    run = charrnn.train("alphabet", **QUICK)
    assert parameters(run.path) == parameters(by_command)
    assert run.model_path.is_file()
    assert run.path.parent == Path("runs")
    assert torch.equal(torch.rand(3), expected), "random numbers are the caller's"
    assert torch.get_num_threads() == threads


def test_several_runs_of_one_process(by_command: Path) -> None:
    """Of other precisions, sizes, and the first once more."""
    calls = [{"mixed_precision": "bf16"}, {"batch": {"accumulation": 2}}, {"model": {"cell": "lstm"}}, {}]
    runs = [charrnn.train("alphabet", **QUICK | call, run_dir=f"run-{i}") for i, call in enumerate(calls)]
    assert parameters(runs[-1].path) == parameters(by_command)
    assert len({parameters(run.path) for run in runs}) == len(calls)


def test_from_a_thread(by_command: Path) -> None:
    runs = list[charrnn.Run]()
    busy, step = threading.Event(), Learner.train_step_collective

    def slowly(self: Learner) -> torch.Tensor:
        busy.set()
        return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "train_step_collective", slowly)
        thread = threading.Thread(target=lambda: runs.append(charrnn.train("alphabet", **QUICK | {"max_steps": 300})))
        thread.start()
        assert busy.wait(TIMEOUT_SECONDS)
        with pytest.raises(RunError, match="this process has a run that is not at its end"):
            charrnn.train("alphabet", **QUICK)
        thread.join()
    assert len(runs[0].metrics["step"]) > 30
    thread = threading.Thread(target=lambda: runs.append(charrnn.train("alphabet", **QUICK)))
    thread.start()
    thread.join()
    assert parameters(runs[1].path) == parameters(by_command)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_interrupted_goes_on_by_the_same_call(
    number: signal.Signals, by_command: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Learner.train_step_collective

    def interrupted(self: Learner) -> torch.Tensor:
        norm = step(self)
        if self.step == 17:
            signal.raise_signal(number)
        return norm

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "train_step_collective", interrupted)
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as caught:
            charrnn.train("alphabet", **QUICK)
    (directory,) = Path("runs").iterdir()
    if number == signal.SIGINT:
        (line,) = caught.value._render_traceback_()
        assert line == f"Interrupted: {directory} has a checkpoint: the same call goes on"
    else:
        assert caught.value.code == 128 + number
    run = charrnn.train("alphabet", **QUICK)
    assert run.path == directory
    assert f"run       {directory}, resumed at step 17" in capsys.readouterr().out
    assert parameters(run.path) == parameters(by_command)
    assert charrnn.train("alphabet", **QUICK).path != directory, "it was at its end"


def test_an_interrupted_export_is_made_up_for(by_command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last step nothing waits for a signal: Ctrl-C has its usual effect."""

    def interrupted(*arguments: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("charrnn.training.run.export_run", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            charrnn.train("alphabet", **QUICK)
    (line,) = caught.value._render_traceback_()
    assert line == "Interrupted: what is saved stays: the same call goes on from there"
    (directory,) = Path("runs").iterdir()
    run = charrnn.train("alphabet", **QUICK)
    assert run.path == directory
    assert run.model_path.is_file()
    assert parameters(directory) == parameters(by_command)


def test_an_error_is_one_line_in_a_notebook() -> None:
    with pytest.raises(ConfigError) as caught:
        charrnn.train("alphabet", hidden_size=3)
    assert caught.value._render_traceback_() == [f"ConfigError: {caught.value}"]
    assert not list(Path().iterdir())


TWICE = """
import sys
import charrnn
from tests.interactive.test_call import QUICK

def work():
    for number, precision in enumerate(["no", "bf16"]):
        charrnn.train("alphabet", **QUICK, mixed_precision=precision, run_dir=f"{sys.argv[1]}/{number}")
"""
LAUNCH = {
    "accelerate launch": "work()",
    "notebook_launcher": "from accelerate import notebook_launcher\nnotebook_launcher(work, num_processes=2)",
}


@pytest.mark.distributed
@pytest.mark.parametrize("launcher", LAUNCH)
def test_several_runs_on_two_processes(launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another: the second group must not find what the first one left in the launcher's store."""
    script, runs = tmp_path / "script.py", tmp_path / "runs"
    script.write_text(TWICE + LAUNCH[launcher])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = accelerate_launch(2, script, runs) if launcher == "accelerate launch" else command_line(script, runs)
    made = finish(runs, words)
    assert made.returncode == 0, made.stderr
    assert "OMP_NUM_THREADS" not in made.stderr
    assert made.stdout.count("2 processes on cpu, 1 thread each") == 2
    for number in range(2):
        records = [json.loads(line) for line in (runs / str(number) / "metrics.jsonl").read_text().splitlines()]
        assert records[-1]["best_step"] == 30
