"""What `native` is compiled for in the tests: this CPU, and others whose instructions it has."""

import platform

from charrnn.model.cpu import cpu_flags

__all__ = ["NATIVE"]

NATIVE = {"native": ""}
"""By the name that a test has as its parameter: flags for the compiler."""

if platform.machine() in ("x86_64", "AMD64"):
    NATIVE["native-sse2"] = "-march=x86-64 -fno-openmp"  # four numbers a vector, as NEON; and threads of its own
    if cpu_flags() >= {"avx2", "fma"}:
        NATIVE["native-avx2"] = "-march=haswell"
    if "amx_bf16" in cpu_flags():
        NATIVE["native-avx512"] = "-march=native -mno-amx-bf16"
