"""What every test shares: a home, caches and W&B settings of its own, and one small trained run."""

import gc
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.skips", "tests.hub_server"]
# Before torch loads its OpenMP: threads that spin while they wait make a busy machine many times slower.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# Two workers on busy cores: how long an example takes says nothing about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
# A shell starts what it puts in the background with SIGINT ignored, and so would be all that the tests start: none of
# them could be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Tests mean the CPU, on a machine with GPUs too, but for those of `pytest -m gpu`."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


ROOT = Path(__file__).parents[1]
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Finished:
    """A training command that has ended, and the run directory that it was given."""

    run: Path
    returncode: int
    stdout: str
    stderr: str

    def records(self, name: str = "") -> list[dict[str, Any]]:
        """The records of metrics.jsonl; with `name`, those that have it."""
        lines = (self.run / "metrics.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if not name or name in record]


Once = Callable[[str, Callable[[Path], Finished]], Finished]
"""Of the fixture `once`."""


def command_line(*arguments: object) -> list[str]:
    """The words of `python ...`."""
    return [sys.executable, *map(str, arguments)]


def finish(run: Path, command: list[str], **options: Any) -> Finished:
    """Run `command` at the repository's root, to its end."""
    process = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, **options
    )
    return Finished(run, process.returncode, process.stdout, process.stderr)


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A directory that all processes of this test session have in common."""
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "shared"
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="session", autouse=True)
def _environment(shared_dir: Path) -> Iterator[None]:
    """Neither the user's home nor the network: nothing is read from them or written to them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("WANDB_", "ACCELERATE_", "HF_", "XDG_")) or name in ("NETRC", "RANK", "WORLD_SIZE"):
                patch.delenv(name)
        home = shared_dir / "home"
        home.mkdir(exist_ok=True)
        patch.setenv("HOME", str(home))
        patch.setenv("CHARRNN_CACHE", str(shared_dir / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_registry() -> Iterator[None]:
    """torch.onnx makes the same registry of 540 operators anew for each export: half of what one takes."""
    if "torch" not in sys.modules:  # no test that was collected exports
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="module", autouse=True)
def _imports_are_no_garbage() -> None:
    """A run ends with garbage collections, which would look through all of torch each time: half of a small run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def once(shared_dir: Path, _environment: None) -> Once:
    """`once(name, make)`: the run that `make(directory)` made, in whichever process of this session came first."""

    def run(name: str, make: Callable[[Path], Finished]) -> Finished:
        path, log = shared_dir / name, shared_dir / f"{name}.json"
        with FileLock(shared_dir / f"{name}.lock"):
            if not log.exists():
                made = make(path)
                log.write_text(json.dumps([made.returncode, made.stdout, made.stderr]))
        return Finished(path, *json.loads(log.read_text()))

    return run


@pytest.fixture(scope="session")
def trained(once: Once) -> Finished:
    """A run of the `alphabet` preset, 60 steps, with offline W&B. To be read, never written to."""
    flags = "--max-steps 60 --evaluate-every 30 --log.every 7 --log.sample-length 20 --threads 1 --log.wandb offline"

    def make(path: Path) -> Finished:
        return finish(path, command_line("-m", "charrnn.cli.train", "alphabet", "--run-dir", path, *flags.split()))

    run = once("trained", make)
    assert run.returncode == 0, run.stderr
    return run
