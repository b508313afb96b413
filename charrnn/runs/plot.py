"""loss.png: the loss of training and validation over the characters seen."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from charrnn.console import visible
from charrnn.files import write_atomically
from charrnn.runs.metrics import Record

if TYPE_CHECKING:
    from charrnn.runs.figure import ShownFigure

__all__ = ["LossPlot"]

MOST_POINTS = 1024
"""Points that a curve may have: more than the picture is wide."""
_MOST_OF_TITLE = 60
_SPLITS = ("train", "validation", "test")
Point: TypeAlias = tuple[float, float]
"""Millions of characters seen, loss in nats per character."""


class LossPlot:
    """The picture of the records that were added: what it costs to draw is bounded, however many they are."""

    def __init__(self, *, title: str) -> None:
        self._title = title
        self.curves = {split: Curve() for split in _SPLITS}

    @classmethod
    def of(cls, records: Iterable[Record], *, title: str) -> Self:
        """The plot of these records of metrics.jsonl, under this title."""
        plot = cls(title=title)
        for record in records:
            plot.add(record)
        return plot

    def add(self, record: Record) -> None:
        """Take the losses out of a record of metrics.jsonl."""
        for split, curve in self.curves.items():
            if f"{split}_loss_nats" in record:
                curve.add((float(record["characters_seen"]) / 1e6, float(record[f"{split}_loss_nats"])))

    def draw(self, path: Path) -> None:
        """Write the figure as PNG, whole or not at all. Raises RunError where it cannot be written."""
        write_atomically(path, self.figure().png())

    def figure(self) -> "ShownFigure":
        """The losses: nats per character at the left, bits at the right. A notebook shows it as it is."""
        from charrnn.runs.figure import ShownFigure  # with it comes matplotlib

        figure = ShownFigure(figsize=(8, 4.5), layout="constrained", dpi=120)
        axes = figure.add_subplot()
        shown = []
        for split, curve in self.curves.items():
            points = curve.points()
            if points:
                _draw_curve(axes, split, points)
                shown += [loss for _, loss in points]
        if shown:
            _scale(axes, shown)
            axes.legend(frameon=False)
        axes.set(xlabel="characters seen, millions", ylabel="loss, nats per character")
        axes.set_title(_short(visible(self._title)), parse_math=False)  # a $ in a directory's name begins no formula
        bits = axes.secondary_yaxis("right", functions=(_bits, _nats))
        bits.set_ylabel("bits per character")
        axes.grid(alpha=0.25)
        return figure


class Curve:
    """Points in their order. Where they would be too many, neighbours become one, their mean: all groups alike."""

    def __init__(self) -> None:
        self._groups: list[Point] = []
        self._newest: list[Point] = []
        self._size = 1  # points in a group

    def add(self, point: Point) -> None:
        self._newest.append(point)
        if len(self._newest) == self._size:
            self._groups.append(_mean(self._newest))
            self._newest = []
        if len(self._groups) == MOST_POINTS:
            self._groups = [_mean(pair) for pair in zip(self._groups[::2], self._groups[1::2], strict=True)]
            self._size *= 2

    def points(self) -> list[Point]:
        return self._groups + ([_mean(self._newest)] if self._newest else [])


def _mean(points: list[Point] | tuple[Point, ...]) -> Point:
    characters, losses = zip(*points, strict=True)
    return sum(characters) / len(points), sum(losses) / len(points)


def _draw_curve(axes: Any, split: str, points: list[Point]) -> None:
    if split == "test":
        axes.plot(*points[-1], "*", markersize=12, color="C3", label=f"test {points[-1][1]:.4g}")
    elif split == "train":
        axes.plot(*zip(*points, strict=True), linewidth=1, alpha=0.6, color="C0", label=split)
    else:
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color="C1", label=split)


def _short(title: str) -> str:
    return title if len(title) <= _MOST_OF_TITLE else f"{title[: _MOST_OF_TITLE - 1]}…"


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
