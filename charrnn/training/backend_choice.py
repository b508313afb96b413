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
    if config.model.recurrence != "auto":
        return choose(config.model.recurrence, model.cell, accelerator.device, training_dtype(accelerator))
    name, said = on_main_collective(accelerator, lambda: _kept_or_measured(model, config, accelerator, before()))
    on_all_collective(accelerator, lambda: _check_here(name, model, accelerator))
    model.measured = name
    return str(said)


def _kept_or_measured(model: CharRNN, config: TrainConfig, accelerator: Accelerator, before: str) -> tuple[str, str]:
    """The name of the backend, and what is to be said of it. `before`: what the run had, empty for a new one."""
    refusal = _refusal(before, model, accelerator) if before else ""
    if before and not refusal:
        return before, f"{before}, as before"
    rows = -(-config.batch.size // (accelerator.num_processes * config.batch.accumulation))
    found = measure(
        model.cell,
        T=config.batch.length,
        B=rows,
        H=config.model.hidden_size,
        device=accelerator.device,
        dtype=training_dtype(accelerator),
    )
    return found.name, f"{found}" + (f"; it was {before}: {refusal}" if before else "")


def _check_here(name: str, model: CharRNN, accelerator: Accelerator) -> None:
    """Raise ConfigError where this process's machine cannot run what the main process's can."""
    if refusal := _refusal(name, model, accelerator):
        raise ConfigError(
            f"the main process chose the recurrence {name}, and process {accelerator.process_index} cannot run it "
            f"({refusal}): give --model.recurrence fused"
        )


def _refusal(name: str, model: CharRNN, accelerator: Accelerator) -> str:
    if name not in BACKENDS:
        return "there is none of that name"
    return BACKENDS[name].refusal(model.cell, accelerator.device, training_dtype(accelerator))
