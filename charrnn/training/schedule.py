"""The learning rate as a pure function of the step, so that resuming needs no state of it."""

import math

__all__ = ["learning_rate"]


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
