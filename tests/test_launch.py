"""What of launch/ one machine cannot start; `training/test_distributed.py` trains with the rest of it."""

import subprocess

from tests.conftest import ROOT, finish


def test_the_slurm_script_can_be_read_and_wants_a_run_directory() -> None:
    """More takes a Slurm; launch/README.md says where it was tried."""
    script = ROOT / "launch" / "slurm.sh"
    subprocess.run(["bash", "-n", script], check=True)
    refused = finish(script, ["bash", str(script), "alphabet"])
    assert refused.returncode == 2
    assert refused.stderr == "slurm.sh: error: name --run-dir: the job that is queued again must find its run\n"
