"""The learning rate as a pure function of the step, so that resuming needs no state of it."""

import math

__all__ = ["learning_rate", "warmup_steps"]

SHORT_EPOCH_STEPS = 20
"""A text with fewer steps to an epoch than this is short: its runs are, too, or see it very often."""


def warmup_steps(asked: int, *, total_steps: int, steps_per_epoch: int) -> int:
    """The steps of warm-up in a run that was asked for `asked`: at most a tenth of a short one.

    A run is short where all its steps lie within the warm-up, and where the text is.
    """
    short = total_steps <= asked or steps_per_epoch < SHORT_EPOCH_STEPS
    return min(asked, total_steps // 10) if short else asked


def learning_rate(
    step: int, *, total_steps: int, highest: float, warmup_steps: int, schedule: str, final_share: float
) -> float:
    """The rate for optimiser step `step` (0, 1, ..., total_steps - 1).

    Linear from highest / warmup_steps to `highest` over the warm-up; then constant, or
    `highest` (final + (1 - final) (1 + cos(pi p)) / 2) with p from 0 after the warm-up to 1 at the last step
    (Loshchilov & Hutter 2017, one cycle).
    """
    if step < warmup_steps:
        return highest * (step + 1) / warmup_steps
    if schedule == "constant":
        return highest
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    return highest * (final_share + (1 - final_share) * (1 + math.cos(math.pi * min(1.0, progress))) / 2)
