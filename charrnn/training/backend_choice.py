"""Which backend executes the recurrence of a run: what it asks for, what it took before, or the fastest here."""

from collections.abc import Callable

import torch
from accelerate import Accelerator

from charrnn.config import TrainConfig
from charrnn.errors import ConfigError
from charrnn.model import CharRNN
from charrnn.model.backends import BACKENDS, choose
from charrnn.model.measurement import measure
from charrnn.processes.collectives import on_all_collective, on_main_collective

__all__ = ["choose_backend_collective", "training_dtype"]


def training_dtype(accelerator: Accelerator) -> torch.dtype:
    """In which the products of training are computed."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32)


def choose_backend_collective(
    model: CharRNN, config: TrainConfig, accelerator: Accelerator, before: Callable[[], str]
) -> str:
    """Have all processes execute `model` by the same backend; returns what is to be said of it, its name first.

    before: tells, on the main process, which backend a resumed run had; it keeps that where it can run here. Otherwise,
    where the config says `auto`, the main process measures the run's own shapes. Raises ConfigError where a backend
    that was asked for by name cannot run, or where one that runs on the main process's machine does not on another's.
    """
    device, dtype = accelerator.device, training_dtype(accelerator)
    if config.model.recurrence != "auto":
        return choose(config.model.recurrence, model.cell, device, dtype)

    def refusal(name: str) -> str:
        return BACKENDS[name].refusal(model.cell, device, dtype) if name in BACKENDS else "there is none of that name"

    def on_main() -> list[str]:
        had = before()
        if had and not refusal(had):
            return [had, f"{had}, as before"]
        rows = -(-config.batch.size // (accelerator.num_processes * config.batch.accumulation))
        found = measure(
            model.cell, T=config.batch.length, B=rows, H=config.model.hidden_size, device=device, dtype=dtype
        )
        return [found.name, f"{found}" + (f"; it was {had}: {refusal(had)}" if had else "")]

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
