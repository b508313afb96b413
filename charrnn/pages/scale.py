"""What the colours of a text mean: from a value of each character to one of a few colours, and the legend to read them.

HTML and PNG are drawn from a scale alone; whether it is of surprise or of a unit's activity they do not know.
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ACTIVITY", "INK", "SURPRISE", "Scale"]

INK = "#16181d"
"""Of characters. On every colour of a scale it has a contrast of 4.5 : 1 at least, which WCAG asks of text."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Equal ranges of a value, each with a colour. What lies beyond the ends has the colour of the end."""

    name: str
    """What is shown, with its unit."""
    colours: tuple[str, ...]
    """Of the ranges, from the lowest on; each is #rrggbb."""
    labels: tuple[str, ...]
    """Of the ranges, for the legend."""
    start: float
    """Where the first range begins."""
    width: float
    """Of a range."""
    key: str
    """What some of the values mean, in a line."""
    told: Callable[[float], str]
    """What is told of a character that has the value."""
    hint: str
    """What there is to see where a character is pointed at."""

    def index(self, value: float | None) -> int:
        """The range that `value` lies in, an index in `colours`; None, of a character that has none, is as 0."""
        ranges = ((value or 0.0) - self.start) / self.width
        return int(min(max(ranges, 0.0), len(self.colours) - 1))


def _surprise(bits: float) -> str:
    # Of an infinite surprise the probability is 0, which 2.0 ** -inf is.
    return f"{bits:.2f} bits, probability {2.0**-bits:.2g}"


SURPRISE = Scale(
    name="surprise in bits",
    # Each is darker than the last, for who sees no hues; ink on the darkest has a contrast of 5.8 : 1.
    colours=(
        "#ffffff", "#fff7d6", "#ffefad", "#ffe383", "#ffd25f", "#ffbb4a", "#ffa13f", "#fb8538", "#f06a3a",
    ),
    labels=("0", "1", "2", "3", "4", "5", "6", "7", "8+"),
    start=0,
    width=1,
    key="0: it was certain · 1: a chance of 1 in 2 · 8: 1 in 256",
    told=_surprise,
    hint="its surprise, and what the model expected",
)  # fmt: skip
"""Whole bits: each colour is a range that can be read off the legend."""

ACTIVITY = Scale(
    name="activity",
    # Blue and orange, which those who cannot tell red from green tell apart, the darker the further from 0.
    colours=(
        "#5b9fdc", "#85b8e6", "#aed0ef", "#d6e7f7", "#ffffff", "#ffe6cc", "#ffcd9c", "#fbb06c", "#f0903f",
    ),
    labels=("-1", "-¾", "-½", "-¼", "0", "¼", "½", "¾", "1"),
    start=-1.125,
    width=0.25,
    key="after the character was read",
    told="{:+.2f}".format,
    hint="the unit's activity after it was read",
)  # fmt: skip
"""Of a unit, from -1 to 1: the nearest quarter."""
