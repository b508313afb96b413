"""Several real processes under `accelerate launch` train the model that one process trains.

Each topology of launch/ that one machine can try starts some of them.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.conftest import ROOT, TIMEOUT_SECONDS, Finished, Once, finish

pytestmark = pytest.mark.distributed

STEPS = 50
# Seven rows are uneven on two processes (3 + 4) and on three (2 + 2 + 3). The validation split of 4,000 characters is
# scored as three streams. Every step is in a record, and the checkpoint of step 40 is between two. Dropout is the
# same on any number of processes.
FLAGS = (
    f"--max-steps {STEPS} --evaluate-every 25 --log.every 3 --log.sample-length 40 --log.wandb disabled --threads 1 "
    "--checkpoint-every 20 --model.dropout 0.2 --mixed-precision no "
    "--batch.size 7 --batch.length 20 --model.hidden-size 24 --model.num-layers 2 --optimiser.warmup-steps 5 "
    "--text.validation-fraction 0.2 --text.test-fraction 0.1"
).split()
TOLERANCE = 1e-5
"""What the project promises over 50 steps; gradients are summed in another order, which is 1e-7 a step."""


def accelerate_launch(processes: int | None, *arguments: object, config: str = "accelerate_config.yaml") -> list[str]:
    """The words of `accelerate launch ...`, to be run at the repository's root; None: as many as the config says."""
    accelerate = Path(sys.executable).parent / "accelerate"
    topology = ["--config_file", config] if config else ["--cpu"]
    number = [] if processes is None else ["--num_processes", processes]
    return [str(word) for word in [accelerate, "launch", *topology, *number, *arguments]]


def launch(run: Path, processes: int | None, *arguments: object, config: str = "accelerate_config.yaml") -> Finished:
    """`accelerate launch ... train.py ...`, as the README says it. Fails where a process is left when it has ended."""
    mark = f"{run}-{processes}"
    words = accelerate_launch(processes, "train.py", *arguments, "--run-dir", run, config=config)
    try:
        finished = finish(run, words, env=os.environ | {MARK: mark})
        assert not marked(mark)
    finally:
        for process in marked(mark):  # a launcher that is killed leaves its workers
            process.kill()
    return finished


MARK = "CHARRNN_TEST_LAUNCH"


def marked(mark: str) -> list[psutil.Process]:
    """The processes that a launch with this mark in its environment has started and that still run."""
    return [process for process in psutil.process_iter() if has_mark(process, mark)]


def has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except psutil.Error:  # it has ended meanwhile, or is another user's
        return False


@pytest.fixture(scope="session")
def text(shared_dir: Path) -> Path:
    """20,000 characters of words in a random order, the same for ever."""
    sentence = "we came to the river and found no boat there so they built one of reeds and went on"
    words, draw = sentence.split(), random.Random(5)
    content = " ".join(draw.choice(words) for _ in range(6000))[:20_000]
    path = shared_dir / f"words-{os.getpid()}.txt"
    path.write_text(content)
    return path


@pytest.fixture(scope="session", params=["stream", "windows"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def one_process(
    once: Once, text: Path, trains: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Finished]:
    """`one_process(mode)`: here, without a launcher, or (`windows`) with the topology of one GPU, on the CPU."""

    def run(mode: str) -> Finished:
        words = [text, *FLAGS, "--batch.mode", mode]

        def make(path: Path) -> Finished:
            if mode == "windows":
                return launch(path, None, *words, config="launch/one_gpu.yaml")
            status = trains(*words, "--run-dir", path)
            return Finished(path, status, *capsys.readouterr())

        made = once(f"one-{mode}", make)
        assert made.returncode == 0, made.stderr
        return made

    return run


def two_processes(once: Once, text: Path, mode: str) -> Finished:
    """As the pods of launch/kubernetes.yaml, or (`windows`) as many as the topology for CPUs says."""

    def make(path: Path) -> Finished:
        words = [text, *FLAGS, "--batch.mode", mode]
        if mode == "windows":
            return launch(path, None, *words, config="launch/cpu.yaml")
        return run_pods(path, *words)

    run = once(f"two-{mode}", make)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def run_pods(run: Path, *arguments: object) -> Finished:
    """The command of the Kubernetes manifest in as many pods as it says, on this machine: one process in each."""
    pod = container()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = [*pod["command"], *map(str, arguments), "--run-dir", str(run)]
    pods = []
    for index in range(int(pod["env"]["MACHINES"])):
        own = {"JOB_COMPLETION_INDEX": str(index), "GPUS": "1", "MAIN": "127.0.0.1", "PATH": path}
        log = run.with_name(f"{run.name}-{index}.log")
        with log.open("w") as file:
            pod_process = subprocess.Popen(words, cwd=ROOT, env=os.environ | pod["env"] | own, stdout=file, stderr=file)
        pods.append((pod_process, log))
    statuses = [pod_process.wait(TIMEOUT_SECONDS) for pod_process, _ in pods]
    return Finished(run, max(map(abs, statuses)), "".join(log.read_text() for _, log in pods), "")


def container() -> dict[str, Any]:
    """The container of the pods in kubernetes.yaml."""
    _, job = yaml.safe_load_all((ROOT / "launch" / "kubernetes.yaml").read_text())
    machines = {job["spec"]["completions"], job["spec"]["parallelism"]}
    (only,) = job["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in only["env"]}
    assert machines == {int(environment["MACHINES"])}
    assert only["resources"]["limits"]["nvidia.com/gpu"] == int(environment["GPUS"])
    return {**only, "env": environment}


def assert_same_training(run: Finished, reference: Finished) -> None:
    """Every loss of every split at every step is within TOLERANCE; every count and every sample is the same."""
    ours, theirs = run.records(), reference.records()
    assert [r["step"] for r in ours] == [r["step"] for r in theirs]
    recorded = [record["step"] for record in run.records("train_loss_nats")]
    assert recorded == sorted({*range(3, STEPS + 1, 3), 25, STEPS})
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        for name in mine.keys() - {"characters_per_second"}:
            if name.endswith(("_nats", "_bpc", "gradient_norm")):
                assert mine[name] == pytest.approx(other[name], abs=TOLERANCE), (name, mine["step"])
            elif name.endswith("_accuracy"):
                # A guess may tip where two characters are equally likely to 1e-7: one of 140 a step, or of thousands.
                assert mine[name] == pytest.approx(other[name], abs=1 / 140 + 1e-9), (name, mine["step"])
            else:
                assert mine[name] == other[name], (name, mine["step"])


def test_two_processes_train_the_model_that_one_trains(
    once: Once, text: Path, mode: str, one_process: Callable[[str], Finished]
) -> None:
    reference, run = one_process(mode), two_processes(once, text, mode)
    assert_same_training(run, reference)
    first, *_, last = reference.records("train_loss_nats")
    assert last["train_loss_nats"] < first["train_loss_nats"] - 0.5, "it learned something on the way"
    assert "\nhardware  2 processes on cpu, 1 thread each, fp32\n" in run.stdout
    assert "\nhardware  1 process on cpu, 1 thread, fp32\n" in reference.stdout
    assert run.stdout.count("hardware") == 1, "one of them speaks"
    assert (run.run / "model.onnx").exists()


def test_another_number_of_processes_goes_on(
    once: Once, text: Path, tmp_path: Path, one_process: Callable[[str], Finished]
) -> None:
    """First two processes, then three, seven rows among them: the checkpoint has the state that all of them carried.

    And the sums of step 40, which is in the record of step 42 with those of two more.
    """
    reference, before = one_process("stream"), two_processes(once, text, "stream")
    path = tmp_path / "run"
    shutil.copytree(before.run, path)
    shutil.rmtree(path / "checkpoints" / f"step-{STEPS:08d}")
    run = launch(path, 3, text, *FLAGS, "--batch.mode", "stream", "--resume", "must")
    assert run.returncode == 0, run.stderr
    assert f"run       {path}, resumed at step 40\n" in run.stdout
    assert "\nhardware  3 processes on cpu, 1 thread each, fp32\n" in run.stdout
    assert_same_training(run, reference)


def test_a_launch_that_would_silently_be_one_process_is_refused(text: Path, tmp_path: Path) -> None:
    """accelerate issue 2741: `--cpu --num_processes 2` starts one."""
    run = launch(tmp_path / "run", 2, text, *FLAGS, config="")
    assert run.returncode != 0
    said = [line for line in run.stderr.splitlines() if line.startswith("charrnn-train: error: ")]
    assert said == [
        "charrnn-train: error: accelerate launch was asked for 2 processes and made 1: "
        "launch with --config_file accelerate_config.yaml, and without --cpu"
    ]
    assert not run.run.exists()


def test_a_mistake_ends_all_processes_and_is_said_once(text: Path, tmp_path: Path) -> None:
    """Found while training, with a process group to take down."""
    flags = ["--optimiser.learning-rate", 1e39, "--optimiser.clip-norm", 0, "--log.every", 3]
    run = launch(tmp_path / "run", 2, text, *FLAGS, *flags)
    assert run.returncode != 0
    said = [line for line in run.stderr.splitlines() if "charrnn-train: error: " in line]
    assert len(said) == 1, run.stderr
    assert "the loss is nan at step 3" in said[0]
    assert run.run.exists()


def test_the_marked_processes_would_be_found() -> None:
    """Otherwise `launch` could not fail where one is left."""
    words = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
    with psutil.Popen(words, env=os.environ | {MARK: "here"}, stdout=subprocess.PIPE) as sleeper:
        try:
            sleeper.stdout.readline()  # before that, /proc may not have its environment yet
            assert [process.pid for process in marked("here")] == [sleeper.pid]
        finally:
            sleeper.kill()
