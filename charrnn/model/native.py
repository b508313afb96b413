"""The recurrence, and the output layer with its loss, in C++ for CPUs with AVX-512.

`native.cpp` is compiled on this machine at its first use. Optional: where there is no compiler or no AVX-512, `why_not`
says so and `fused` does the same. The library is kept in charrnn's cache ($CHARRNN_CACHE, else ~/.cache/charrnn), under
a name that has the source and the CPU in it.
"""

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from charrnn.model.fused import Loops, through_time
from charrnn.model.recurrence import in_autocast_dtype

__all__ = ["native", "output_loss", "why_not"]

_SOURCE = Path(__file__).with_name("native.cpp")
# -fopenmp: the threads are torch's own, for the library finds torch's OpenMP in the process. -w: GCC 12 warns of its
# own headers.
_OPTIONS = ["-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared", "-w"]
_SUFFIXES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def why_not(device: torch.device, dtype: torch.dtype) -> str:
    """The reason why `native` cannot compute in `dtype` on `device`; empty where it can."""
    if device.type != "cpu":
        return f"it runs on a CPU, not on {device.type}"
    if dtype not in _SUFFIXES:
        return f"it computes in float32 and bfloat16, not in {str(dtype).removeprefix('torch.')}"
    library, reason = _library()
    if library is not None and not hasattr(library, f"forward_{_SUFFIXES[dtype]}"):
        return "this CPU has no bfloat16 (AVX-512 BF16)"
    return reason


@functools.cache
def _library() -> tuple[ctypes.CDLL | None, str]:
    """The compiled library; where there is none, the reason."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return None, f"this CPU is {platform.machine()}, it needs AVX-512"
    try:
        path = _cache_dir() / f"native-{_key()}.so"
        if not path.exists():
            _compile(path)
        return ctypes.CDLL(str(path)), ""
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        lines = [line for line in said.splitlines() if "error" in line] or said.splitlines()
        return None, f"it cannot be built here ({lines[0].strip()})"


def _compile(path: Path) -> None:
    """Compile `native.cpp` into `path`, which appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        unfinished = Path(directory) / path.name
        command = [os.environ.get("CXX", "c++"), *_OPTIONS, str(_SOURCE), "-o", str(unfinished)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        unfinished.replace(path)


def _key() -> str:
    """What the library depends on: the source, how it is compiled, and the CPU (caches are shared between machines)."""
    try:
        cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        cpu = platform.processor()
    return hashlib.sha256(_SOURCE.read_bytes() + "".join([*_OPTIONS, cpu]).encode()).hexdigest()[:16]


def _cache_dir() -> Path:
    if own := os.environ.get("CHARRNN_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "charrnn"


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
    (N, H), V = outputs.shape, len(weight)
    if not 0 <= int(targets.min()) <= int(targets.max()) < V:
        raise IndexError(f"targets from {int(targets.min())} to {int(targets.max())}: they must be within [0, {V})")
    grad_outputs, grad_weight = torch.empty_like(outputs), torch.zeros_like(weight, dtype=torch.float32)
    grad_bias = grad_weight.new_zeros((V + 31) // 32 * 32)  # whole vectors
    sums = torch.zeros(2, dtype=torch.float64)
    tensors = (outputs, weight.contiguous(), bias, targets, grad_outputs, grad_weight, grad_bias, sums)
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


_LOOPS = Loops(functools.partial(_recur, "forward"), functools.partial(_recur, "backward"), _outer_products)


@torch.compiler.disable  # type: ignore[untyped-decorator]  # there is nothing to trace
@in_autocast_dtype
def native(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
    """Run the recurrence; the same function as `charrnn.model.recurrence.reference`, float32 or bfloat16, on a CPU.

    inputs [T, B, H], state [B, H], W_h [H, H] -> outputs [T, B, H]. Its backward pass is the one that fused.py derives.
    Differentiable once.
    """
    return through_time(inputs, state, W_h, _LOOPS)
