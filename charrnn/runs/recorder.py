"""What a user sees of a run: metrics, samples, the plot, the progress bar, messages, W&B."""

import math
from pathlib import Path
from typing import Any

from charrnn.bars import bar
from charrnn.errors import RunError
from charrnn.files import write_atomically
from charrnn.runs.directory import RunDirectory
from charrnn.runs.messages import say
from charrnn.runs.metrics import MetricsFile, Record
from charrnn.runs.plot import LossPlot
from charrnn.runs.wandb_run import WandB

__all__ = ["NoRecorder", "Recorder"]


class Recorder:
    """Keeps the record of a run, on the main process. samples.txt and loss.png are views of metrics.jsonl.

    The record is read once, here; what an evaluation adds to the views costs the same however many came before.
    """

    def __init__(
        self, directory: RunDirectory, wandb: WandB, *, first_step: int, evaluated: bool, total_steps: int
    ) -> None:
        self._directory = directory
        self._metrics = MetricsFile(directory.metrics)
        self._wandb = wandb
        self._plot = LossPlot(title=directory.path.name)
        self._validation: list[float] = []
        kept = self._metrics.rewind(first_step, evaluated=evaluated)
        for record in kept:
            self._see(record)
        if directory.samples.exists():
            write_atomically(directory.samples, "".join(_in_samples(record) for record in kept if "sample" in record))
        self._bar = bar(total=total_steps, initial=first_step, unit=" steps", dynamic_ncols=True)

    def _see(self, record: Record) -> None:
        self._plot.add(record)
        if "validation_loss_nats" in record:
            self._validation.append(float(record["validation_loss_nats"]))

    def evaluations_since_best(self) -> int:
        """Evaluations after that with the lowest validation loss."""
        losses = self._validation
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0

    def advance(self) -> None:
        """One step is done."""
        self._bar.update()

    def end_at(self, total_steps: int) -> None:
        """The run will have so many steps."""
        self._bar.total = total_steps

    def stage(self, name: str) -> None:
        """Say in the bar what is going on when it stands still."""
        self._bar.set_description_str(name)
        self._bar.refresh()

    def say(self, text: str) -> None:
        """Tell on stdout what is going on."""
        say(text)

    def record(self, record: Record) -> None:
        """Write what is known at a step: metrics.jsonl, samples.txt, W&B, the bar. Losses get bits per character."""
        full: dict[str, float | str] = {}
        for name, value in record.items():
            if isinstance(value, float) and not math.isfinite(value):
                continue  # an overflown fp16 gradient: no number that JSON has
            full[name] = value
            if name.endswith("_loss_nats"):
                full[name.replace("_loss_nats", "_bpc")] = float(value) / math.log(2)
        self._metrics.append(full)
        self._see(full)
        if "sample" in full:
            self._add_sample(full)
        self._wandb.log(full)
        if "train_loss_nats" in full:
            loss, bpc, speed = (float(full[f]) for f in ("train_loss_nats", "train_bpc", "characters_per_second"))
            figures = f"loss {loss:.3f}, {bpc:.3f} bpc, {speed / 1e3:.1f}k characters/s"
            self._bar.set_postfix_str(figures, refresh=False)  # the next step shows them, if it is time

    def flush(self) -> None:
        """Have the records on the disk."""
        self._metrics.flush()

    def draw(self) -> None:
        """Make loss.png of what is recorded so far."""
        self._plot.draw(self._directory.plot)

    def finish(self, results: dict[str, Any], model: Path) -> None:
        """Record the results of a whole run; the model file goes to W&B where that is online."""
        self._wandb.finish(results, model)

    def close(self) -> None:
        """End the bar and the W&B run, finished or not."""
        self._bar.close()
        self._wandb.close()

    def _add_sample(self, record: Record) -> None:
        try:
            with self._directory.samples.open("a", encoding="utf-8", newline="\n") as file:
                file.write(_in_samples(record))
        except OSError as error:
            raise RunError(
                f"{self._directory.samples}: cannot be written ({error.strerror}): free space there and resume"
            ) from error


class NoRecorder:
    """The recorder of the other processes: the same methods, and they do nothing."""

    def evaluations_since_best(self) -> int:
        """See `Recorder`."""
        return 0

    def end_at(self, total_steps: int) -> None:
        """See `Recorder`."""

    def advance(self) -> None:
        """See `Recorder`."""

    def stage(self, name: str) -> None:
        """See `Recorder`."""

    def say(self, text: str) -> None:
        """See `Recorder`."""

    def record(self, record: Record) -> None:
        """See `Recorder`."""

    def flush(self) -> None:
        """See `Recorder`."""

    def draw(self) -> None:
        """See `Recorder`."""

    def finish(self, results: dict[str, Any], model: Path) -> None:
        """See `Recorder`."""

    def close(self) -> None:
        """See `Recorder`."""


def _in_samples(record: Record) -> str:
    return f"=== step {record['step']} ===\n{record['sample']}\n\n"
