"""loss.png: the loss of training and validation over the characters seen."""

import io
import math
from pathlib import Path
from typing import Any

from charrnn.files import write_atomically
from charrnn.training.tracking import Record

__all__ = ["plot_loss"]


def plot_loss(records: list[Record], path: Path, *, title: str) -> None:
    """Draw the records of metrics.jsonl; nats per character at the left, bits at the right."""
    from matplotlib.figure import Figure  # no pyplot: no display, no global state

    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=120)
    axes = figure.add_subplot()
    curves = {"train": "train_loss_nats", "validation": "validation_loss_nats", "test": "test_loss_nats"}
    shown = []
    for label, name in curves.items():
        points = [(float(r["characters_seen"]) / 1e6, float(r[name])) for r in records if name in r]
        if not points:
            continue
        shown += [loss for _, loss in points]
        if label == "test":
            axes.plot(*points[-1], "*", markersize=12, color="C3", label=f"test {points[-1][1]:.4g}")
        elif label == "train":
            axes.plot(*zip(*points, strict=True), linewidth=1, alpha=0.6, color="C0", label=label)
        else:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color="C1", label=label)
    if shown:
        _scale(axes, shown)
        axes.legend(frameon=False)
    axes.set(xlabel="characters seen, millions", ylabel="loss, nats per character")
    axes.set_title(title, parse_math=False)  # a $ in a directory's name begins no formula
    bits = axes.secondary_yaxis("right", functions=(_bits, _nats))
    bits.set_ylabel("bits per character")
    axes.grid(alpha=0.25)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    write_atomically(path, image.getvalue())


def _scale(axes: Any, losses: list[float]) -> None:
    """Leave out the first steep fall, so that the part people compare fills the picture."""
    lowest, highest = min(losses), sorted(losses)[int(0.95 * (len(losses) - 1))]
    if 0 < lowest < highest / 50:  # learned by heart: only a logarithm shows it
        axes.set_yscale("log")
    elif highest > lowest:
        margin = 0.05 * (highest - lowest)
        axes.set_ylim(lowest - margin, highest + margin)


def _bits(nats: Any) -> Any:
    return nats / math.log(2)


def _nats(bits: Any) -> Any:
    return bits * math.log(2)
