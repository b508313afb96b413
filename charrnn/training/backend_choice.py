"""Which backend executes the recurrence of a run: what it asks for, what it took before, or the fastest here."""

import torch
from accelerate import Accelerator

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError
from charrnn.model import CharRNN
from charrnn.model.backends import BACKENDS
from charrnn.model.measurement import measure
from charrnn.processes.collectives import on_all_collective, on_main_collective

__all__ = ["choose_backend_collective", "training_dtype"]


def training_dtype(accelerator: Accelerator) -> torch.dtype:
    """In which the products of training are computed."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32)


def choose_backend_collective(model: CharRNN, config: TrainConfig, accelerator: Accelerator, before: str) -> str:
    """Have all processes execute `model` alike; returns the backend's name, and what is to be said of it.

    before: the backend that a resumed run had, which it keeps where that can run here; empty for a new run. Otherwise,
    and where the config says `auto`, the main process measures the run's own shapes. Raises ConfigError where a backend
    that was asked for by name cannot run, or where one that runs on the main process's machine does not on another's.
    """
    if config.model.recurrence != "auto":
        return config.model.recurrence
    device, dtype = accelerator.device, training_dtype(accelerator)

    def refusal(name: str) -> str:
        return BACKENDS[name].refusal(model.cell, device, dtype) if name in BACKENDS else "there is none of that name"

    def on_main() -> list[str]:
        moved = f"; {before}, which it had: {refusal(before)}" if before and refusal(before) else ""
        if before and not moved:
            return [before, f"{before}, as before"]
        rows = -(-config.batch.size // (accelerator.num_processes * config.batch.accumulation))
        found = measure(
            model.cell, T=config.batch.length, B=rows, H=config.model.hidden_size, device=device, dtype=dtype
        )
        return [found.name, f"{found}{moved}"]

    name, said = on_main_collective(accelerator, on_main)

    def here() -> None:
        if refusal(name):
            raise ConfigError(
                f"the main process chose the recurrence {name}, and process {accelerator.process_index} cannot run it "
                f"({refusal(name)}): give --model.recurrence fused"
            )

    on_all_collective(accelerator, here)
    model.measured = name
    return str(said)
