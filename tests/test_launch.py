"""Every file of launch/ starts training: its own command, on the processors of this machine."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, TIMEOUT_SECONDS, Once, command_line, finish
from tests.training.test_distributed import FLAGS, assert_same_training, one_process, text, two_processes

__all__ = ["text"]  # a fixture


@pytest.mark.distributed
def test_the_topologies_of_one_machine(once: Once, text: Path) -> None:
    """Without --num_processes: each file's own number. Here one_gpu.yaml trains on the CPU."""
    one_gpu, cpu = one_process(once, text, "windows"), two_processes(once, text, "windows")
    assert "\nhardware  1 process " in one_gpu.stdout
    assert "\nhardware  2 processes " in cpu.stdout
    assert_same_training(cpu, one_gpu)


def container() -> dict[str, Any]:
    """The container of the pods in kubernetes.yaml."""
    _, job = yaml.safe_load_all((ROOT / "launch" / "kubernetes.yaml").read_text())
    machines = {job["spec"]["completions"], job["spec"]["parallelism"]}
    (only,) = job["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry["value"] for entry in only["env"]}
    assert machines == {int(environment["MACHINES"])}
    assert only["resources"]["limits"]["nvidia.com/gpu"] == int(environment["GPUS"])
    return {**only, "env": environment}


@pytest.mark.distributed
def test_the_command_of_the_kubernetes_pods(once: Once, text: Path, tmp_path: Path) -> None:
    """Two pods' command as the manifest has it, on this machine: one process each, and index 0 here."""
    reference, run, pod = one_process(once, text, "stream"), tmp_path / "run", container()
    pods = []
    for index in range(int(pod["env"]["MACHINES"])):
        path = f"{Path(command_line()[0]).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"JOB_COMPLETION_INDEX": str(index), "GPUS": "1", "MAIN": "127.0.0.1", "PATH": path}
        words = [*pod["command"], str(text), *FLAGS, "--batch.mode", "stream", "--run-dir", str(run)]
        with (tmp_path / f"{index}.log").open("w") as log:
            pods.append(subprocess.Popen(words, cwd=ROOT, env=os.environ | pod["env"] | own, stdout=log, stderr=log))
    statuses = [pod.wait(TIMEOUT_SECONDS) for pod in pods]
    assert statuses == [0, 0], (tmp_path / "0.log").read_text()
    assert_same_training(type(reference)(run, 0, "", ""), reference)


def test_the_slurm_script_can_be_read_and_wants_a_run_directory() -> None:
    """More takes a Slurm; launch/README.md says where it was tried."""
    script = ROOT / "launch" / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    refused = finish(script, ["bash", str(script), "alphabet"])
    assert refused.returncode == 2
    assert refused.stderr == "slurm.sh: error: name --run-dir: the job that is queued again must find its run\n"
