"""What is due beside training after each step: an evaluation, a record, a checkpoint."""

from dataclasses import dataclass

__all__ = ["Due"]


@dataclass(kw_only=True)
class Due:
    """Says after how many steps what is due. It keeps in mind the last evaluation, which is due once at its step."""

    evaluate_every: int
    record_every: int
    checkpoint_every: int
    """0: only as `checkpoint`'s other reason, and with each evaluation."""
    total_steps: int
    evaluated_step: int = 0
    """The step after which the last evaluation was made."""

    def evaluation(self, step: int) -> bool:
        """Whether the evaluation after `step` is due and not made yet; the last step has one in any case."""
        return step not in (0, self.evaluated_step) and (step % self.evaluate_every == 0 or step == self.total_steps)

    def record(self, step: int) -> bool:
        """Whether the training loss is to be recorded: before each evaluation, too."""
        return step % self.record_every == 0 or self.evaluation(step)

    def checkpoint(self, step: int, minutes_are_over: bool) -> bool:
        """Whether a checkpoint is due, by its steps or by the clock. An evaluation that is due will save one."""
        by_step = self.checkpoint_every > 0 and step % self.checkpoint_every == 0
        return (by_step or minutes_are_over) and not self.evaluation(step)
