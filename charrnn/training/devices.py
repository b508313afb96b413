"""The processes and devices of a run: started by `accelerate launch`, checked here, described in one line."""

import json
import os
from collections.abc import Callable
from typing import TypeVar

import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from charrnn.errors import CharRNNError, ConfigError

__all__ = ["describe", "main_decides", "start"]

T = TypeVar("T")


def start(*, mixed_precision: str, threads: int) -> Accelerator:
    """The Accelerator of this process, on CPU where there is no CUDA device.

    Raises ConfigError where the launch is not what was asked for: fewer processes, another precision, fp16 on CPU.
    """
    cpu = not torch.cuda.is_available()
    if cpu and mixed_precision == "fp16":
        raise ConfigError("mixed_precision is fp16: the CPU has none, use --mixed-precision bf16 or no")
    launcher_precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launcher_precision not in ("no", mixed_precision):
        raise ConfigError(
            f"accelerate launch asks for {launcher_precision}, the run for {mixed_precision}: "
            f"give train.py --mixed-precision {launcher_precision}"
        )
    torch.set_num_threads(_threads(threads))
    accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision)
    requested = max(int(os.environ.get("WORLD_SIZE", "1")), _requested_processes())
    if accelerator.num_processes != requested:
        raise ConfigError(
            f"accelerate launch was asked for {requested} processes and made {accelerator.num_processes}: "
            "launch with --config_file accelerate_config.yaml, and without --cpu"
        )
    return accelerator


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
    """Run `decide` on the main process and return its JSON-able result on all.

    A CharRNNError there is raised on every process: none is left waiting. JSON, since torch's own object collectives
    unpickle what they receive.
    """
    outcome = b""
    if accelerator.is_main_process:
        try:
            outcome = json.dumps({"result": decide()}).encode()
        except CharRNNError as error:
            if accelerator.num_processes == 1:
                raise
            outcome = json.dumps({"error": type(error).__name__, "message": str(error)}).encode()
    if accelerator.num_processes > 1:
        outcome = _broadcast_bytes(accelerator, outcome)
    decoded = json.loads(outcome)
    if "error" in decoded:
        kinds = {kind.__name__: kind for kind in CharRNNError.__subclasses__()}
        raise kinds.get(decoded["error"], CharRNNError)(decoded["message"])
    result: T = decoded["result"]
    return result


def _broadcast_bytes(accelerator: Accelerator, content: bytes) -> bytes:
    size = broadcast(torch.tensor([len(content)], device=accelerator.device))
    buffer = torch.zeros(int(size), dtype=torch.uint8, device=accelerator.device)
    if accelerator.is_main_process:
        buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
    return bytes(broadcast(buffer).cpu().numpy())


def _threads(threads: int) -> int:
    """The launcher sets OMP_NUM_THREADS=1 unasked, so a 1 there says nothing; more was somebody's choice."""
    if threads:
        return threads
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdecimal() and int(chosen) > 1:
        return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _requested_processes() -> int:
    """What `--num_processes` of the launcher above us says, 1 where none is.

    `accelerate launch --cpu --num_processes 2` starts one process and tells it nothing (accelerate issue 2741): the
    launcher's own command line is the only trace of the wish.
    """
    parent = psutil.Process().parent()
    words = parent.cmdline() if parent is not None else []
    if not any(word.endswith(("accelerate", "accelerate-launch", "accelerate.commands.launch")) for word in words[:4]):
        return 1
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "__num_processes":
            value = value or (words[index + 1] if index + 1 < len(words) else "")
            return int(value) if value.isdecimal() else 1
    return 1
