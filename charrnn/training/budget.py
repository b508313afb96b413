"""What --minutes chooses of a run: by the text, the time, and the speed of this hardware.

The table and the numbers of the rule were measured: docs/training.md, "How long".
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator

from charrnn.config import TrainConfig
from charrnn.processes.collectives import on_main_collective
from charrnn.training.backend_choice import choose_backend_collective
from charrnn.training.data import RunText
from charrnn.training.deadline import Deadline
from charrnn.training.learner import Learner

__all__ = ["SIZES", "Size", "chosen_collective", "largest"]


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model, and from when on it is worth its time."""

    cell: Literal["gru", "lstm"]
    num_layers: int
    hidden_size: int
    learning_rate: float
    characters: float
    """For each parameter, that it is trained on at least; trained on fewer, a smaller model is as good."""
    passes: float = 0
    """Over the text, that it has the time for at least."""

    def settings(self) -> dict[str, object]:
        """By their names in TrainConfig."""
        return {
            "model.cell": self.cell,
            "model.num_layers": self.num_layers,
            "model.hidden_size": self.hidden_size,
            "optimiser.learning_rate": self.learning_rate,
        }


SIZES = (
    Size(cell="gru", num_layers=1, hidden_size=128, learning_rate=8e-3, characters=0),
    Size(cell="gru", num_layers=1, hidden_size=256, learning_rate=6e-3, characters=5),
    Size(cell="lstm", num_layers=1, hidden_size=256, learning_rate=6e-3, characters=2, passes=10),
    Size(cell="gru", num_layers=1, hidden_size=512, learning_rate=4e-3, characters=5),
    Size(cell="lstm", num_layers=1, hidden_size=512, learning_rate=4e-3, characters=2, passes=10),
    Size(cell="gru", num_layers=2, hidden_size=512, learning_rate=3e-3, characters=9),
    Size(cell="lstm", num_layers=2, hidden_size=512, learning_rate=3e-3, characters=3, passes=10),
    Size(cell="gru", num_layers=2, hidden_size=1024, learning_rate=2e-3, characters=9),
)
"""From the smallest to the largest. A GRU learns faster, an LSTM gains more from many passes and from dropout."""
_TRIAL = next(size for size in SIZES if size.hidden_size == 512)
"""What is timed first."""
PASSES, FEWEST_PASSES, MOST_PASSES = 10.0, 16, 100
"""A model with as many parameters as the text has characters may pass over it so often, one with half of them twice as
often: after more it knows the text by heart. The bounds are those of that number."""
_TIMED_STEPS = 4
_EVALUATIONS, _EVALUATIONS_SECONDS, _EVALUATIONS_SHARE = 20, 600.0, 0.06
"""So many, or one every ten minutes, where they take no more than this share; _FEWEST_EVALUATIONS in any case."""
_FEWEST_EVALUATIONS = 4
_VALIDATION_SHARE, _TEST_SHARE = 0.01, 0.03
"""Of the time that scoring the split once may take: of a very long text, a smaller part is scored."""
_PATIENCE = 6


def chosen_collective(config: TrainConfig, text: RunText, accelerator: Accelerator, deadline: Deadline) -> TrainConfig:
    """`config`, and in place of what it leaves open, what fits the time. All processes call this and agree."""
    fewest = accelerator.num_processes * config.batch.accumulation
    batch = {"batch.size": max(fewest, min(_rows(len(text.train)), config.batch.size))}
    sizes = [_in_open(config, size.settings() | batch) for size in SIZES]
    trial = _in_open(config, _TRIAL.settings() | batch)
    seconds = _step_seconds_collective(trial, text, accelerator)
    per_parameter = seconds / _parameters(trial, text)
    chosen = sizes[on_main_collective(accelerator, lambda: largest(sizes, text, deadline.left / per_parameter))]
    if chosen != trial:
        seconds = _step_seconds_collective(chosen, text, accelerator)
    settings = on_main_collective(accelerator, lambda: _for_time(chosen, text, deadline, seconds))
    return _in_open(chosen, settings)


def largest(sizes: Sequence[TrainConfig], text: RunText, steps: float) -> int:
    """The index of the largest of SIZES that is worth its time; `sizes` are the configs that they make.

    steps: that a model of one parameter would make in the time; one of more makes fewer in proportion.
    """
    worth_it = 0
    for index, (size, config) in enumerate(zip(SIZES, sizes, strict=True)):
        parameters = _parameters(config, text)
        passes = config.batch.characters * steps / parameters / len(text.train)  # that there is time for
        characters = min(passes, _most_passes(config, text)) * len(text.train)
        if characters >= size.characters * parameters and passes >= size.passes:
            worth_it = index
    return worth_it


def _in_open(config: TrainConfig, settings: Mapping[str, object]) -> TrainConfig:
    return config.changed({name: value for name, value in settings.items() if name in config.open_settings})


def _for_time(config: TrainConfig, text: RunText, deadline: Deadline, step_seconds: float) -> dict[str, object]:
    """The settings that follow from the size and its speed. Tells `deadline` what is known of that."""
    per_second = config.batch.characters / step_seconds
    length = len(text.prepared.stream)
    validation = min(len(text.validation), round(_VALIDATION_SHARE * deadline.left * per_second))
    test = min(len(text.test), round(_TEST_SHARE * deadline.left * per_second))
    steps = deadline.left / step_seconds
    evaluation_seconds = max(validation / per_second, 1e-3)
    wanted = max(_EVALUATIONS, deadline.left / _EVALUATIONS_SECONDS)
    evaluations = min(wanted, max(_FEWEST_EVALUATIONS, _EVALUATIONS_SHARE * deadline.left / evaluation_seconds))
    steps = min(steps, _most_passes(config, text) * len(text.train) / config.batch.characters)
    deadline.trained(step_seconds)
    deadline.evaluated(evaluation_seconds, test_share=test / max(1, validation))
    passes = steps * config.batch.characters / len(text.train)
    return {
        "epochs": _most_passes(config, text),
        "evaluate_every": max(1, round(steps / evaluations)),
        "patience": _PATIENCE,
        "optimiser.warmup_steps": min(config.optimiser.warmup_steps, int(steps) // 10),
        "model.dropout": _dropout(passes * _parameters(config, text) / len(text.train)),
        "text.validation_fraction": validation / length,
        "text.test_fraction": test / length,
    }


def _rows(characters: int) -> int:
    """Of a batch: 16 for a million characters, four times as many for sixteen times the text; a multiple of 8.

    Few rows are many steps a pass, and learn more from the same text, until they are too few to stand for all of it.
    """
    return max(8, 8 * round(math.sqrt(characters) / 512))


def _most_passes(config: TrainConfig, text: RunText) -> int:
    if "epochs" not in config.open_settings:
        return config.epochs
    return round(min(max(PASSES * len(text.train) / _parameters(config, text), FEWEST_PASSES), MOST_PASSES))


def _dropout(chances: float) -> float:
    """By how much chance the run has to learn the text by heart: its passes, times parameters by characters."""
    return 0.0 if chances < 2 else 0.2 if chances < 10 else 0.4 if chances < 14 else 0.5


def _parameters(config: TrainConfig, text: RunText) -> int:
    with torch.device("meta"):  # sizes without numbers
        return sum(parameter.numel() for parameter in text.model(config.model).parameters())


def _step_seconds_collective(config: TrainConfig, text: RunText, accelerator: Accelerator) -> float:
    """Seconds that a step of training takes here, by a model that is thrown away."""
    model = text.model(config.model)
    choose_backend_collective(model, config, accelerator, before=lambda: "")
    learner = Learner(model, text.batches(config.batch, config.seed, config.behaviour), config, accelerator)
    learner.model.train()
    seconds = []
    for _ in range(_TIMED_STEPS):
        begin = time.perf_counter()
        float(learner.train_step_collective())  # waits for the device
        seconds.append(time.perf_counter() - begin)
    accelerator.free_memory()
    return on_main_collective(accelerator, lambda: statistics.median(seconds[1:]))
