"""Everything a run can be told, as frozen dataclasses; the command line is made from them, docstrings included.

Conventions: 0, or an empty value, switches a thing off or leaves the choice to charrnn, as each field says.
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, Self

import tyro

from charrnn.errors import ConfigError
from charrnn.model import Architecture
from charrnn.text.settings import TextConfig

__all__ = ["BatchConfig", "LogConfig", "OptimiserConfig", "TrainConfig", "flat"]

_SEEDS = 2**63
"""Seeds that torch's generators take, as signed 64-bit numbers."""
_STOP_SIGNALS = [name for name in ("ALRM", "BREAK", "HUP", "QUIT", "USR1", "USR2") if hasattr(signal, f"SIG{name}")]
"""Signals that a process may take for a wish: those that say something else already are left to it. Windows has BREAK
alone."""


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How the training split becomes batches."""

    mode: Literal["stream", "windows"] = "stream"
    """stream: contiguous text, state carried from batch to batch. windows: shuffled windows, state zero."""
    size: int = 64
    """B: rows of the global batch, whatever the number of processes."""
    length: int = 100
    """T: characters of a row that one step reads, and the reach of backpropagation through time."""
    stride: int = 10
    """Characters between the starts of neighbouring windows (windows mode only)."""
    reset: float = 0.01
    """Chance of a row to begin a step with a state of zeros, as a text that it writes does, instead of the one carried
    along (stream mode). An LSTM else comes to rely on a memory that took thousands of characters to fill; 0: none."""
    accumulation: int = 1
    """Parts that a batch is computed in, one after another: the same gradient in less memory."""

    def __post_init__(self) -> None:
        _at_least(1, "batch", self, "size", "length", "stride", "accumulation")
        if not 0 <= self.reset < 1:
            raise ConfigError(f"batch.reset is {self.reset}: it must be at least 0 and below 1")

    @property
    def characters(self) -> int:
        """Characters that one step trains on, over all processes."""
        return self.size * self.length


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """AdamW, its learning rate over time, and gradient clipping."""

    learning_rate: float = 4e-3
    """Highest learning rate."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: a half cosine down to `final_learning_rate`, or constant."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from 0; 0: none."""
    final_learning_rate: float = 0.02
    """Learning rate at the end of the cosine, as a share of the highest."""
    weight_decay: float = 0.1
    """Decoupled weight decay of matrices (biases have none); 0: none, which makes AdamW plain Adam."""
    beta1: float = 0.9
    """Decay of the running mean of the gradient."""
    beta2: float = 0.99
    """Decay of the running mean of its square."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient; 0: no clipping."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"optimiser.learning_rate is {self.learning_rate}: it must be a positive number")
        if not 0 <= self.final_learning_rate <= 1:
            raise ConfigError(f"optimiser.final_learning_rate is {self.final_learning_rate}: it must be from 0 to 1")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"optimiser.{name} is {getattr(self, name)}: it must be at least 0 and below 1")
        _at_least(0, "optimiser", self, "warmup_steps", "weight_decay", "clip_norm")


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is recorded while training, and where. metrics.jsonl is always written."""

    wandb: Literal["auto", "offline", "online", "disabled"] = "auto"
    """auto: online where you have logged in to W&B, otherwise offline (files in the run directory)."""
    project: str = "charrnn"
    """W&B project."""
    every: int = 20
    """Steps between two records of the training loss."""
    sample_prompt: str = ""
    """What the sample at each evaluation continues."""
    sample_length: int = 200
    """Characters of that sample; 0: no sample."""
    sample_temperature: float = 0.8
    """Its temperature; 0: always the likeliest character."""

    def __post_init__(self) -> None:
        _at_least(1, "log", self, "every")
        _at_least(0, "log", self, "sample_length", "sample_temperature")
        if self.sample_temperature == float("inf"):
            raise ConfigError("log.sample_temperature is inf: it must be a finite number")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    preset: Annotated[str, tyro.conf.Suppress] = "text"
    """Name of the preset that this config started from."""
    run_dir: str = ""
    """Directory of the run; empty: runs/PRESET-TIME."""
    resume: str = "auto"
    """auto: continue this run where --run-dir holds it, or (without one) where the same command has left it unfinished
    in runs/; else start it. never: start only. must: continue only. Or a run directory or one of its checkpoints, which
    is continued."""
    init_from: str = ""
    """Run directory, checkpoint, or hf://OWNER/NAME of the Hub, whose weights a new run starts from (fine-tuning on
    another text)."""
    minutes: float = 0.0
    """Minutes after which the model is to be there, from the start of the command, scoring and export included. They
    choose what you leave open: steps, and with the preset `text` the model, too; 0: --epochs says how long."""
    epochs: int = 10
    """Passes over the training batches."""
    max_steps: int = 0
    """Optimiser steps after which training ends, epochs or not; 0: no such limit."""
    evaluate_every: int = 500
    """Steps between evaluations, each with a sample and a checkpoint; 0: at the end of each epoch."""
    checkpoint_every: int = 0
    """Steps between checkpoints, beside those of the evaluations; 0: none."""
    checkpoint_minutes: float = 10.0
    """Minutes after which a checkpoint is written if none was; 0: no such limit."""
    patience: int = 0
    """Evaluations without a new lowest validation loss after which training ends; 0: no such limit."""
    keep_checkpoints: int = 2
    """Newest checkpoints that are kept, beside the best."""
    seed: int = 0
    """Seed of the initial weights, of the windows' order and of dropout."""
    mixed_precision: Literal["no", "auto", "bf16", "fp16"] = "no"
    """Precision of the products while training; scores are always computed in float32. auto: bf16 where this machine
    multiplies it faster than float32, else no."""
    threads: int = 0
    """CPU threads of each process, at most the machine's cores; 0: OMP_NUM_THREADS where it is above 1, otherwise
    cores / processes here."""
    process_timeout: float = 600.0
    """Seconds after which a process that waits for another one gives up, and the launch ends."""
    stop_signal: str = "USR1" if "USR1" in _STOP_SIGNALS else ""
    """Signal that saves a checkpoint and ends the run, as SIGTERM and SIGINT do; empty: those two alone."""
    behaviour: Annotated[int, tyro.conf.Suppress] = 2
    """Version of what a run does that no setting says. 1 is charrnn 0.1.0's, whose windows were shuffled by a
    permutation in memory, whose dropout drew other numbers, and whose warm-up was never shortened. A resumed run keeps
    the one that it began with."""
    left_open: Annotated[tuple[str, ...], tyro.conf.Suppress] = (
        *("epochs", "evaluate_every", "patience", "optimiser.warmup_steps"),
    )
    """Settings that --minutes chooses, but for those in `given`."""
    given: Annotated[tuple[str, ...] | None, tyro.conf.Suppress] = None
    """Settings that flags have given: a run that goes on keeps its own for the others. None: all count as given."""
    text: TextConfig = field(default_factory=TextConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    model: Architecture = field(default_factory=Architecture)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        _at_least(1, "", self, "epochs", "keep_checkpoints")
        _at_least(
            *(0, "", self, "max_steps", "evaluate_every", "checkpoint_every", "checkpoint_minutes", "seed", "threads"),
            "patience",
        )
        if not 0 <= self.minutes <= 1e6:
            raise ConfigError(f"minutes is {self.minutes}: it must be from 0 to 1000000")
        if not 1 <= self.process_timeout <= 1e6:
            raise ConfigError(f"process_timeout is {self.process_timeout}: it must be from 1 to 1000000 seconds")
        if self.stop_signal and self.stop_signal not in _STOP_SIGNALS:
            known = ", ".join(_STOP_SIGNALS)
            raise ConfigError(f"stop_signal is {self.stop_signal!r}: it must be one of {known}, or empty")
        if self.seed >= _SEEDS:
            raise ConfigError(f"seed is {self.seed}: it must be below {_SEEDS}")

    @property
    def open_settings(self) -> frozenset[str]:
        """What --minutes may choose."""
        return frozenset(self.left_open) - frozenset(self.given or ())

    def changed(self, values: Mapping[str, object]) -> Self:
        """This config with other values of some settings, named as in 'model.cell'; a list of JSON becomes a tuple."""
        config = self
        for name, value in values.items():
            value = tuple(value) if isinstance(value, list) else value
            group, _, last = name.rpartition(".")
            changes: dict[str, Any] = {last: value}
            config = replace(config, **({group: replace(getattr(config, group), **changes)} if group else changes))
        return config

    @property
    def stop_signal_number(self) -> int:
        """The number of `stop_signal`, 0 for none."""
        return int(getattr(signal, f"SIG{self.stop_signal}")) if self.stop_signal else 0


def flat(settings: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """{'model': {'cell': 'gru'}} -> {'model.cell': 'gru'}."""
    named: dict[str, Any] = {}
    for name, value in settings.items():
        named |= flat(value, f"{group}{name}.") if isinstance(value, Mapping) else {f"{group}{name}": value}
    return named


def _at_least(least: int, group: str, config: object, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= least:
            flag = f"{group}.{name}" if group else name
            raise ConfigError(f"{flag} is {getattr(config, name)}: it must be at least {least}")
