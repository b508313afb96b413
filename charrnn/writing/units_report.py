"""charrnn-sample --score FILE --units: which units a simple property of the text explains, and their pictures."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids
from charrnn.errors import ConfigError
from charrnn.pages.coloured_text import ColouredCharacter, ColouredText, Passage
from charrnn.pages.scale import ACTIVITY
from charrnn.runtime import OnnxModel
from charrnn.runtime.tracing import trace_ids
from charrnn.units import Correlations, Finding, Unit, activity_of, kind_of, values_of
from charrnn.writing.options import Options
from charrnn.writing.output import say
from charrnn.writing.progress import with_progress

__all__ = ["MAX_CHARS", "UnitsReport", "check_units", "chosen_units", "look"]

MAX_CHARS = 100_000
"""Characters at the beginning of a text in which units are looked at: one stream, so that takes up to a minute."""
_UNEXPLAINED = 3
"""Units that are told although nothing explains them."""


@dataclass(frozen=True, kw_only=True)
class UnitsReport:
    """What units see in a text."""

    ids: Ids
    """The text's beginning, in which they were looked at."""
    chars: int
    """Characters of the whole text."""
    findings: list[Finding]
    activities: Mapping[Unit, npt.NDArray[np.float32]]
    """Of the units that were asked for by name, after each character that can be drawn; empty where none was."""

    def as_table(self) -> str:
        """A line for each finding, after an empty one and a head."""
        first = "" if len(self.ids) == self.chars else "first "
        head = f"\nunits in the {first}{len(self.ids):,} characters\n"
        columns = f"{'unit':<10}{'what explains it':<25}{'r':>6}{'r²':>7}  variance\n"
        return head + columns + "".join(map(_line, self.findings))

    def as_json(self) -> dict[str, Any]:
        """The same for a JSON object; property and r are null where nothing explains a unit."""
        return {
            "characters": len(self.ids),
            "found": [
                {
                    "unit": str(each.unit),
                    "property": each.name,
                    "r": each.r if each.name else None,
                    "r2": each.r2 if each.name else None,
                    "variance": each.variance,
                }
                for each in self.findings
            ],
        }

    def text(self, title: str, model: OnnxModel, max_chars: int) -> ColouredText:
        """The beginning of the text, by each of the units once; it is traced again where they had to be found first.

        max_chars: of all passages together. Raises ConfigError where there is no unit to show.
        """
        headings = self._headings()
        if not headings:
            raise ConfigError(
                "no unit changes enough in this text to be drawn: name one, with --unit L:N, or leave out --heatmap"
            )
        ids = self.ids[: max_chars // len(headings)]
        characters, activities = model.vocabulary.decode(ids), self.activities or _traced_again(model, ids, [*headings])
        passages = [
            Passage(heading, [*map(ColouredCharacter, characters, activities[unit].tolist())])
            for unit, heading in headings.items()
        ]
        first = "" if len(self.ids) == self.chars else f" · units in its first {len(self.ids):,}"
        return ColouredText(
            title=title,
            facts=f"{self.chars:,} characters{first}",
            scale=ACTIVITY,
            passages=passages,
            chars=self.chars,
        )

    def _headings(self) -> dict[Unit, str]:
        """Of each unit once, with the properties that were found to explain it."""
        said: dict[Unit, list[str]] = {}
        for each in self.findings:
            said.setdefault(each.unit, []).append(f"{each.name}, r {each.r:+.2f}" if each.name else _NOTHING)
        return {unit: f"unit {unit} · {' · '.join(what[:_NAMED])}" for unit, what in said.items()}


_NOTHING = "nothing known"
_NAMED = 2
"""Properties in a heading at most."""


def chosen_units(options: Options) -> list[Unit]:
    """The units of --unit, none where it is not given. Raises ConfigError where one is spelled wrongly."""
    return [] if options.unit is None else [*map(Unit.parse, options.unit.split(","))]


def check_units(units: list[Unit], model: OnnxModel) -> None:
    """Raises ConfigError where `model` lacks one of them."""
    for unit in units:
        unit.check(*model.state_sizes[kind_of(model.state_sizes)])


def look(
    model: OnnxModel, ids: Ids, chars: int, units: list[Unit], options: Options, *, draw_chars: int = 0
) -> UnitsReport:
    """Look at `units`, none for all, while the model reads `ids`, the beginning of a text of so many `chars`.

    draw_chars: that a picture has room for, of all units together.
    """
    begin = time.perf_counter()
    L, H = model.state_sizes[kind_of(model.state_sizes)]
    correlations = Correlations(L, H, values_of(model.vocabulary.decode(ids)))
    # Of all units that would be too much. The text is traced again then, as far as the passages of those found show it.
    named = list(dict.fromkeys(units))
    kept = _Kept(named, min(draw_chars // max(1, len(named)), len(ids)))

    def told(activity: npt.NDArray[np.float32]) -> str:
        return f"units: {(correlations.chars + len(activity)) / len(ids):.0%} looked at"

    for activity in with_progress(_traced(model, ids), told, quiet=options.quiet):
        correlations.add(activity)
        kept.add(activity)
    if options.verbose:
        say(f"units of {len(ids):,} characters in {time.perf_counter() - begin:.2f} s")
    if not units:
        findings = correlations.best_of_each() + correlations.unexplained(_UNEXPLAINED)
    else:
        findings = [each for unit in units for each in correlations.of_unit(unit)]
    return UnitsReport(ids=ids, chars=chars, findings=findings, activities=kept.by_unit())


class _Kept:
    """The activity of some units after each of a text's first characters."""

    def __init__(self, units: list[Unit], chars: int) -> None:
        self._units = units
        self._whole = np.empty((chars, len(units)), np.float32)
        self._chars = 0

    def add(self, activity: npt.NDArray[np.float32]) -> None:
        """Add the next characters, of which the activity of all units is [characters, L, H]."""
        part = activity[: len(self._whole) - self._chars]
        for column, unit in zip(self._whole.T, self._units, strict=True):
            column[self._chars : self._chars + len(part)] = part[:, *unit]
        self._chars += len(part)

    def by_unit(self) -> dict[Unit, npt.NDArray[np.float32]]:
        return dict(zip(self._units, self._whole.T, strict=True))


def _traced(model: OnnxModel, ids: Ids) -> Iterator[npt.NDArray[np.float32]]:
    """The activity of all units [T, L, H], a block after the other."""
    return map(activity_of, trace_ids(model, [ids]))


def _traced_again(model: OnnxModel, ids: Ids, units: list[Unit]) -> dict[Unit, npt.NDArray[np.float32]]:
    kept = _Kept(units, len(ids))
    for activity in _traced(model, ids):
        kept.add(activity)
    return kept.by_unit()


def _line(finding: Finding) -> str:
    known = f"{finding.r:+6.2f}{finding.r2:7.2f}" if finding.name else " " * 13
    return f"{finding.unit!s:<10}{finding.name or _NOTHING:<25}{known}  {finding.variance:.3f}\n"
