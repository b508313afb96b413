"""What the figures of a benchmark were measured on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path


def machine(*packages: str) -> dict[str, str]:
    """Commit, processor and cores, Python, and the versions of `packages`."""
    root = Path(__file__).parent
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=root)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "commit": head.stdout.strip(),
        "cpu": f"{os.cpu_count()} x {cpu}",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
