"""Training that has diverged ends before a spoilt model can be saved."""

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from charrnn.errors import TrainingError
from charrnn.runs.checkpoint import newest_first

__all__ = ["DivergenceCheck"]


class DivergenceCheck:
    """Raises TrainingError for what is no longer a number, on all processes alike: all have the same numbers."""

    def __init__(self, checkpoints: Path, learning_rate: float) -> None:
        self._checkpoints = checkpoints
        self._learning_rate = learning_rate

    def loss(self, loss_nats: float, step: int) -> None:
        """Check a loss, of training or of a split, after `step`."""
        if not math.isfinite(loss_nats):
            raise self._diverged(f"the loss is {loss_nats} at step {step}")

    def parameters(self, parameters: Mapping[str, Tensor], step: int) -> None:
        """Check the parameters after `step`."""
        if not all(bool(value.isfinite().all()) for value in parameters.values()):
            raise self._diverged(f"a parameter is no longer a number after step {step}")

    def _diverged(self, what: str) -> TrainingError:
        good = newest_first(self._checkpoints)
        kept = f"the last good checkpoint is {good[0]}" if good else "there is no checkpoint yet"
        return TrainingError(
            f"{what}, so training stopped; {kept}: start another run with a "
            f"lower --optimiser.learning-rate (it was {self._learning_rate}) or --optimiser.clip-norm"
        )
