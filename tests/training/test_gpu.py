"""A whole run on a CUDA device: it learns what the CPU learns, and goes on bit for bit."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.conftest import Finished, command_line, finish

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="not here: there is no CUDA device"),
]

FLAGS = [
    *("alphabet", "--epochs", "100", "--max-steps", "60", "--evaluate-every", "30", "--log.every", "7"),
    *("--log.sample-length", "20", "--log.wandb", "disabled", "--model.num-layers", "2", "--model.dropout", "0.1"),
    *("--optimiser.learning-rate", "2e-3"),
]
LOSSES = ("train_loss_nats", "validation_loss_nats", "test_loss_nats")


def train(run: Path, *flags: object) -> Finished:
    finished = finish(run, command_line("train.py", *FLAGS, "--run-dir", run, *flags))
    assert finished.returncode == 0, finished.stderr
    return finished


def figures(run: Finished) -> list[dict[str, object]]:
    return [{key: value for key, value in record.items() if "per_second" not in key} for record in run.records()]


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_run_that_goes_on_is_the_undisturbed_one(tmp_path: Path, precision: str) -> None:
    whole = train(tmp_path / "whole", "--mixed-precision", precision, "--checkpoint-every", 41)
    part = tmp_path / "part"
    shutil.copytree(whole.run, part)
    shutil.rmtree(part / "checkpoints" / "step-00000060")
    resumed = train(part, "--mixed-precision", precision, "--checkpoint-every", 41)
    assert "resumed at step 41" in resumed.stdout
    assert figures(resumed) == figures(whole)
    for name in ("model", "optimiser"):
        file = f"checkpoints/step-00000060/{name}.safetensors"
        assert (resumed.run / file).read_bytes() == (whole.run / file).read_bytes()
    assert (resumed.run / "samples.txt").read_text() == (whole.run / "samples.txt").read_text()


@pytest.mark.parametrize("recurrence", ["fused", "graphed", "cudnn"])
def test_the_losses_are_the_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recurrence: str) -> None:
    gpu = train(tmp_path / "gpu", "--model.dropout", 0, "--model.recurrence", recurrence)
    assert " process on NVIDIA" in gpu.stdout
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cpu = train(tmp_path / "cpu", "--model.dropout", 0)
    for name in LOSSES:
        ours, theirs = ([record[name] for record in run.records(name)] for run in (gpu, cpu))
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_checkpoint_moves_between_gpu_and_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {}
    for device in ("gpu", "cpu"):
        runs[device] = train(tmp_path / device, "--model.dropout", 0, "--checkpoint-every", 41)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the second has none
    for begun, devices in (("gpu", ""), ("cpu", "0")):
        moved = tmp_path / f"from-{begun}"
        shutil.copytree(runs[begun].run, moved)
        shutil.rmtree(moved / "checkpoints" / "step-00000060")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        resumed = train(moved, "--model.dropout", 0, "--checkpoint-every", 41)
        assert "resumed at step 41" in resumed.stdout
        for name in LOSSES:
            ours, theirs = ([record[name] for record in run.records(name)] for run in (resumed, runs[begun]))
            assert ours == pytest.approx(theirs, abs=1e-4)


def test_more_processes_than_gpus_are_refused(tmp_path: Path) -> None:
    processes = torch.cuda.device_count() + 1
    launcher = ["-m", "accelerate.commands.launch", "--config_file", "accelerate_config.yaml"]
    words = [*launcher, "--num_processes", processes, "train.py", *FLAGS, "--run-dir", tmp_path / "run"]
    run = finish(tmp_path / "run", command_line(*words))
    assert f"asked for {processes} processes on a machine with {processes - 1} GPU" in run.stderr
    assert not run.run.exists()
