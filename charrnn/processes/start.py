"""The processes and devices of a run: started by `accelerate launch`, checked here, described in one line."""

import ctypes
import os
import sys
import warnings
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from charrnn.errors import ConfigError
from charrnn.model.cpu import cpu_flags
from charrnn.processes.launcher import requested_processes
from charrnn.processes.restart import join_again

__all__ = ["describe", "start"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def start(*, mixed_precision: str, threads: int, timeout_seconds: float = 600.0) -> Accelerator:
    """The Accelerator of this process, on CPU where there is no CUDA device or the launcher's `use_cpu` says so.

    A process that waits for another gives up after `timeout_seconds`. The precision `auto` is the launcher's where that
    chose one, else bf16 where this machine is made for it.

    Raises ConfigError where the launch is not what was asked for: fewer processes, another precision, fp16 on CPU; and
    where a machine has GPUs, but not one for each process.
    """
    cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "True"
    local, devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if not cpu and local > devices:
        raise ConfigError(
            f"accelerate launch was asked for {local} processes on a machine with {devices} GPU{'s' * (devices > 1)}: "
            f"give --num_processes {devices}, or --config_file launch/cpu.yaml"
        )
    launcher_precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if mixed_precision == "auto":
        mixed_precision = _fastest_precision(cpu) if launcher_precision == "no" else launcher_precision
    if cpu and mixed_precision == "fp16":
        raise ConfigError("mixed_precision is fp16: the CPU has none, use --mixed-precision bf16 or no")
    if launcher_precision not in ("no", mixed_precision):
        raise ConfigError(
            f"accelerate launch asks for {launcher_precision}, the run for {mixed_precision}: "
            f"give train.py --mixed-precision {launcher_precision}"
        )
    if cpu:
        _keep_freed_memory()
    else:
        _same_bits_every_time()
    threads = _threads(threads)
    torch.set_num_threads(threads)
    timeout = timedelta(seconds=timeout_seconds)
    join_again("gloo" if cpu else "cuda:nccl,cpu:gloo", timeout)
    group = InitProcessGroupKwargs(timeout=timeout)
    with warnings.catch_warnings():  # of several processes on CPU that accelerate launch has not started
        warnings.filterwarnings("ignore", "OMP_NUM_THREADS/MKL_NUM_THREADS unset, we set it", UserWarning)
        accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision, kwargs_handlers=[group])
    torch.set_num_threads(threads)  # which it has set then, to its own number
    requested = max(int(os.environ.get("WORLD_SIZE", "1")), requested_processes())
    if accelerator.num_processes != requested:
        raise ConfigError(
            f"accelerate launch was asked for {requested} processes and made {accelerator.num_processes}: "
            "launch with --config_file accelerate_config.yaml, and without --cpu"
        )
    return accelerator


def _fastest_precision(cpu: bool) -> str:
    """bf16 where the device has instructions for it, else no: emulated, it is slower than float32."""
    if not cpu:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if cpu_flags() & {"avx512_bf16", "amx_bf16"} else "no"


def _keep_freed_memory() -> None:
    """Have the C library keep the blocks that a step frees for the next step, which asks for the same again.

    glibc gives them back to the kernel at once, and each page of them is a fault when it comes again: at H=512, B=64,
    T=100 in bfloat16 3,473 faults a step, 8 ms of kernel time in 41 ms. Blocks of more than 32 MB still go back: in a
    heap of what was kept they would find no hole of their size, and memory would grow by a third.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # glibc's; musl has none
        mallopt(_M_MMAP_THRESHOLD, 2**25)
        mallopt(_M_TRIM_THRESHOLD, 2**30)


def _same_bits_every_time() -> None:
    """A resumed run is the undisturbed one, bit for bit, on a GPU too.

    Without this the gradient of the input table was another in the last bits each time (float32, H100, torch 2.11).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS may use no other where torch asks for this
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False  # float32 is float32 in cuDNN, too, as it is in torch's own products
    # We write all that we read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def describe(accelerator: Accelerator) -> str:
    """Devices, processes, threads and precision: '2 processes on cpu, 1 thread each, fp32'."""
    processes = accelerator.num_processes
    device = accelerator.device.type
    if device == "cuda":
        device = torch.cuda.get_device_name(accelerator.device)
    precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
    threads = torch.get_num_threads()
    return (
        f"{processes} process{'es' if processes > 1 else ''} on {device}, "
        f"{threads} thread{'s' if threads > 1 else ''}{' each' if processes > 1 else ''}, {precision}"
    )


def _threads(threads: int) -> int:
    """The launcher sets OMP_NUM_THREADS=1 unasked, so a 1 there says nothing; more was somebody's choice.

    That choice was made for all programs and machines: it is no more than the cores here. Raises ConfigError where
    `threads` is more: some thousands end the process.
    """
    most = os.cpu_count() or 1
    if threads > most:
        raise ConfigError(f"threads is {threads}: this machine has {most} cores, give --threads {most}, fewer, or 0")
    if threads:
        return threads
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen) > 1:
        return min(int(chosen), most)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
