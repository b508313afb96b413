"""The recurrence, and the output layer with its loss, in C++ for CPUs with AVX-512.

`native.cpp` is compiled on this machine at its first use. Optional: where there is no compiler or no AVX-512, `why_not`
says so and `fused` does the same. The library is kept in charrnn's cache, under a name that has the source, the CPU and
the library's own checksum in it, in a directory that belongs to the user alone: what is loaded is what was built.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from charrnn.errors import ConfigError
from charrnn.files import cache_dir
from charrnn.model.cpu import cpu_flags
from charrnn.model.fused import Loops, tanh_by

__all__ = ["native", "output_loss", "why_not"]

_SOURCE = Path(__file__).with_name("native.cpp")
# -fopenmp: the threads are torch's own, for the library finds torch's OpenMP in the process. -w: GCC 12 warns of its
# own headers.
_OPTIONS = ["-std=c++17", "-O3", "-fopenmp", "-fPIC", "-shared", "-w"]
_FOR_THIS_CPU = ["-march=native"]
_NEEDED_FLAGS = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl"})
_SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_COMPILER_SECONDS = 120.0


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """The reason why `native` cannot compute in `dtype` on a CPU; empty where it can."""
    if dtype not in _SUFFIXES:
        return f"it computes in float32 and bfloat16, not in {str(dtype).removeprefix('torch.')}"
    library, reason = _library()
    if library is not None and not hasattr(library, f"forward_{_SUFFIXES[dtype]}"):
        return "this CPU has no bfloat16 (AVX-512 BF16)"
    return reason


@functools.cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    """The compiled library; where there is none, the reason."""
    reason = _why_not_here()
    if reason:
        return None, reason
    try:
        directory = _own_directory()
        found = [path for path in directory.glob(f"native-{_key()}-*.so") if _is_whole(path)]
        return ctypes.CDLL(str(found[0] if found else _built(directory))), ""
    except (ConfigError, OSError, ValueError, subprocess.SubprocessError) as error:
        return None, f"it cannot be built here ({_first_complaint(error)})"


def _why_not_here() -> str:
    if sys.platform == "win32":
        return "it is not made for Windows"
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"this CPU is {platform.machine()}, it needs AVX-512"
    if cpu_flags() and not cpu_flags() >= _NEEDED_FLAGS:
        return "this CPU has no AVX-512"
    return ""


def _own_directory() -> Path:
    """Where libraries are kept. Raises ValueError where others could put theirs: what lies there is executed."""
    directory = cache_dir() / "native"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = directory.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ValueError(f"{directory} is not this user's alone: set CHARRNN_CACHE to a directory that is")
    return directory


def _is_whole(path: Path) -> bool:
    """Whether a library is the one that was built: loading a damaged one can end the process. Others are removed."""
    if path.stem.endswith(_checksum(path.read_bytes())):
        return True
    path.unlink()
    return False


def _built(directory: Path) -> Path:
    """Compile `native.cpp` into `directory`, where the library appears whole or not at all."""
    compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    with tempfile.TemporaryDirectory(dir=directory) as workspace:
        unfinished = Path(workspace) / "native.so"
        command = [*compiler, *_OPTIONS, *_FOR_THIS_CPU, str(_SOURCE), "-o", str(unfinished)]
        subprocess.run(command, check=True, capture_output=True, timeout=_COMPILER_SECONDS)
        path = directory / f"native-{_key()}-{_checksum(unfinished.read_bytes())}.so"
        return unfinished.replace(path)


def _first_complaint(error: Exception) -> str:
    """One line of what the compiler, or the operating system, said."""
    said = getattr(error, "stderr", None) or b""
    lines = said.decode("utf-8", "replace").split("\n")
    complaints = [line for line in lines if "error" in line] or [line for line in lines if line.strip()]
    return complaints[0].strip() if complaints else str(error)


def _key() -> str:
    """What the library depends on: the source, how it is compiled, and the CPU (caches are shared between machines)."""
    cpu = sorted(cpu_flags()) or [platform.processor()]
    return _checksum(_SOURCE.read_bytes() + " ".join([*_OPTIONS, *_FOR_THIS_CPU, *cpu]).encode())


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _call(name: str, tensors: Sequence[Tensor], sizes: Sequence[int], threads: int) -> None:
    """Call the function `name` of native.cpp for the dtype of the first of `tensors`."""
    library, reason = _library()
    assert library is not None, reason
    assert all(tensor.is_contiguous() for tensor in tensors)
    function = getattr(library, f"{name}_{_SUFFIXES[tensors[0].dtype]}")
    function(*(ctypes.c_void_p(t.data_ptr()) for t in tensors), *(ctypes.c_int64(n) for n in (*sizes, threads)))


def _recur(name: str, *tensors: Tensor) -> None:
    T, B, H = tensors[0].shape
    _call(name, tensors, (T, B, H), min(torch.get_num_threads(), B))


def output_loss(
    outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same as `charrnn.model.loss.in_pieces`, float32 or bfloat16, on a CPU. Raises IndexError as torch does."""
    outputs, weight, bias, targets = (each.contiguous() for each in (outputs, weight, bias, targets))
    (N, H), V = outputs.shape, len(weight)
    if not 0 <= int(targets.min()) <= int(targets.max()) < V:
        raise IndexError(f"targets from {int(targets.min())} to {int(targets.max())}: they must be within [0, {V})")
    grad_outputs, grad_weight = torch.empty_like(outputs), torch.zeros_like(weight, dtype=torch.float32)
    grad_bias = grad_weight.new_zeros((V + 31) // 32 * 32)  # whole vectors
    sums = torch.zeros(2, dtype=torch.float64)
    tensors = (outputs, weight, bias, targets, grad_outputs, grad_weight, grad_bias, sums)
    _call("output_loss", (*tensors, torch.tensor(scale)), (N, V, H), _threads(N))
    return sums.float(), grad_outputs, grad_weight.mul_(scale), grad_bias[:V].mul_(scale)


def _outer_products(a: Tensor, b: Tensor) -> Tensor:
    """a [N, M], b [N, K] -> a^T b, float32 [M, K]."""
    (N, M), K = a.shape, b.shape[1]
    result = a.new_zeros(M, K, dtype=torch.float32)
    _call("outer_products", (a, b, result), (N, M, K), _threads(N))
    return result


def _threads(rows: int) -> int:
    """Threads among which `rows` are shared out: what each one adds up is in memory of its own."""
    return max(1, min(torch.get_num_threads(), rows // 128))


native = tanh_by(Loops(functools.partial(_recur, "forward"), functools.partial(_recur, "backward"), _outer_products))
"""The recurrence in float32 or bfloat16 on a CPU; the same function as `charrnn.model.recurrence.reference`.

Its backward pass is the one that fused.py derives. Differentiable once.
"""
