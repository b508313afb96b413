"""The processes and devices of a run: started by `accelerate launch`, checked here, described in one line."""

import ctypes
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast
from torch.distributed import init_process_group
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from charrnn.errors import CharRNNError, ConfigError
from charrnn.model.cpu import cpu_flags

__all__ = ["describe", "from_main", "launcher_pid", "main_decides", "start", "together"]

T = TypeVar("T")
SIGN_OF_LIFE_SECONDS = 5.0
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
    torch.set_num_threads(_threads(threads))
    timeout = timedelta(seconds=timeout_seconds)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        _join_again("gloo" if cpu else "cuda:nccl,cpu:gloo", timeout)
    group = InitProcessGroupKwargs(timeout=timeout)
    accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision, kwargs_handlers=[group])
    requested = max(int(os.environ.get("WORLD_SIZE", "1")), _requested_processes())
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


def _join_again(backend: str, timeout: timedelta) -> None:
    """Make the process group of a restarted launch (`--max_restarts`) before accelerate does.

    The launcher's key-value store lives on, and what the attempt before wrote there misleads the next one: it fails, or
    hangs. Ours has keys of its own for each attempt.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return  # then a store is made anew for each attempt
    launcher, rank, world_size = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(f"charrnn/attempt-{os.environ['TORCHELASTIC_RESTART_COUNT']}", launcher)
    init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)


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


def main_decides(accelerator: Accelerator, decide: Callable[[], T]) -> T:
    """Run `decide` on the main process and return its JSON-able result on all, however long it takes.

    A CharRNNError there is raised on every process: none is left waiting. JSON, since torch's own object collectives
    unpickle what they receive.
    """
    if accelerator.num_processes == 1:
        return decide()
    outcome: dict[str, Any] = {}
    if accelerator.is_main_process:
        with _signs_of_life(accelerator):
            outcome = _outcome(decide)
    else:
        _wait_for_main(accelerator)
    result: T = _result(json.loads(from_main(accelerator, json.dumps(outcome).encode())))
    return result


def together(accelerator: Accelerator, act: Callable[[], T]) -> T:
    """Run `act` on every process; a CharRNNError of one is raised on all."""
    if accelerator.num_processes == 1:
        return act()
    result: list[T] = []
    outcome = _outcome(lambda: result.append(act()))
    failed = accelerator.gather(torch.tensor(["error" in outcome], device=accelerator.device))
    if bool(failed.any()):
        first = int(failed.int().argmax())
        _result(json.loads(from_main(accelerator, json.dumps(outcome).encode(), first)))
    return result[0]


def from_main(accelerator: Accelerator, content: bytes, process: int = 0) -> bytes:
    """What the main process, or another one, has as `content`."""
    if accelerator.num_processes == 1:
        return content
    size = broadcast(torch.tensor([len(content)], device=accelerator.device), process)
    buffer = torch.zeros(int(size), dtype=torch.uint8, device=accelerator.device)
    if accelerator.process_index == process and content:
        buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    return bytes(broadcast(buffer, process).cpu().numpy())


@contextmanager
def _signs_of_life(accelerator: Accelerator) -> Iterator[None]:
    """Tell the others every few seconds that the main process is still at work: none gives up waiting for it."""
    done, problems = threading.Event(), list[RuntimeError]()

    def tell() -> None:
        try:
            while not done.wait(SIGN_OF_LIFE_SECONDS):
                broadcast(torch.zeros(1, device=accelerator.device))
            broadcast(torch.ones(1, device=accelerator.device))
        except RuntimeError as error:
            problems.append(error)

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if problems:
        raise problems[0]


def _wait_for_main(accelerator: Accelerator) -> None:
    while not broadcast(torch.zeros(1, device=accelerator.device)):
        pass


def _outcome(act: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": act()}
    except CharRNNError as error:
        return {"error": type(error).__name__, "message": str(error)}


def _result(outcome: dict[str, Any]) -> Any:
    if "error" in outcome:
        kinds = {kind.__name__: kind for kind in CharRNNError.__subclasses__()}
        raise kinds.get(outcome["error"], CharRNNError)(outcome["message"])
    return outcome["result"]


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


def launcher_pid() -> int:
    """The process that launched this one, where that is `accelerate launch`; otherwise 0."""
    parent, words = _launcher()
    return parent if words else 0


def _requested_processes() -> int:
    """What `--num_processes` of the launcher above us says, 1 where none is.

    `accelerate launch --cpu --num_processes 2` starts one process and tells it nothing (accelerate issue 2741): the
    launcher's own command line is the only trace of the wish.
    """
    words = _launcher()[1]
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "__num_processes":
            value = value or (words[index + 1] if index + 1 < len(words) else "")
            return int(value) if value.isdecimal() else 1
    return 1


def _launcher() -> tuple[int, list[str]]:
    """The parent process and its command line; no words where it is not accelerate's launcher."""
    try:
        parent = psutil.Process().parent()
        words = parent.cmdline() if parent is not None else []
    except psutil.Error:  # it has just ended, or is another user's: accelerate's launcher is ours, and waits for us
        words = []
    if any(word.endswith(("accelerate", "accelerate-launch", "accelerate.commands.launch")) for word in words[:4]):
        return os.getppid(), words
    return os.getppid(), []
