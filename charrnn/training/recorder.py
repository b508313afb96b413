"""What a user sees of a run: metrics, samples, the plot, the progress bar, W&B. Main process only."""

import math
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from charrnn.files import write_atomically
from charrnn.training.plot import plot_loss
from charrnn.training.run_directory import RunDirectory
from charrnn.training.tracking import MetricsFile, Record, WandB

__all__ = ["Recorder", "say", "warn"]


def say(line: str) -> None:
    """Print a line above the progress bar."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def warn(line: str) -> None:
    """Say on stderr, above the progress bar, what the user should know but need not act on."""
    tqdm.write(f"charrnn-train: {line}", file=sys.stderr)
    sys.stderr.flush()


class Recorder:
    """Keeps the record of a run. samples.txt and loss.png are views of metrics.jsonl, made anew at each evaluation."""

    def __init__(
        self, directory: RunDirectory, wandb: WandB, *, first_step: int, evaluated: bool, total_steps: int
    ) -> None:
        self._directory = directory
        self._metrics = MetricsFile(directory.metrics)
        self._metrics.rewind(first_step, evaluated=evaluated)
        self._wandb = wandb
        # On a terminal only: elsewhere the line at each evaluation tells as much, and logs stay readable.
        self._bar = tqdm(total=total_steps, initial=first_step, unit=" steps", disable=None, dynamic_ncols=True)

    def advance(self) -> None:
        """One step is done."""
        self._bar.update()

    def stage(self, name: str) -> None:
        """Say in the bar what is going on when it stands still."""
        self._bar.set_description_str(name)
        self._bar.refresh()

    def record(self, record: Record) -> None:
        """Write what is known at a step: metrics.jsonl, W&B, the bar. Bits per character are added to losses."""
        full: dict[str, float | str] = {}
        for name, value in record.items():
            if isinstance(value, float) and not math.isfinite(value):
                continue  # an overflown fp16 gradient: no number that JSON has
            full[name] = value
            if name.endswith("_loss_nats"):
                full[name.replace("_loss_nats", "_bpc")] = float(value) / math.log(2)
        self._metrics.append(full)
        self._wandb.log({name: value for name, value in full.items() if name != "sample"})
        if "train_loss_nats" in full:
            loss, bpc, speed = (float(full[f]) for f in ("train_loss_nats", "train_bpc", "characters_per_second"))
            self._bar.set_postfix_str(f"loss {loss:.3f}, {bpc:.3f} bpc, {speed / 1e3:.1f}k characters/s")

    def flush(self) -> None:
        """Have the records on the disk."""
        self._metrics.flush()

    def refresh_views(self) -> None:
        """Make samples.txt, loss.png and the W&B table of samples from the metrics."""
        records = self._metrics.read()
        plot_loss(records, self._directory.plot, title=self._directory.path.name)
        samples = [(int(r["step"]), str(r["sample"])) for r in records if "sample" in r]
        if samples:
            text = "".join(f"=== step {step} ===\n{sample}\n\n" for step, sample in samples)
            write_atomically(self._directory.samples, text)
            self._wandb.log_samples(samples[-1][0], samples)

    def finish(self, results: dict[str, Any], model: Path) -> None:
        """Record the results of a whole run; the model file goes to W&B where that is online."""
        self._wandb.finish(results, model)

    def close(self) -> None:
        """End the bar and the W&B run, finished or not."""
        self._bar.close()
        self._wandb.close()
