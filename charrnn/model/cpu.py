"""What this machine's CPU can do."""

import functools
from pathlib import Path

__all__ = ["cpu_flags"]


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The features that Linux lists for this CPU, such as "avx512_bf16"; empty where nothing is known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split()[2:])
