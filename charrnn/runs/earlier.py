"""The settings of a run that an earlier charrnn wrote, as this one has them."""

from collections.abc import Mapping
from typing import Any

__all__ = ["GONE", "LACKED", "as_today"]

LACKED: Mapping[str, object] = {
    "behaviour": 1,
    "minutes": 0.0,
    "patience": 0,
    "left_open": [],
    "given": None,
    "batch.reset": 0.0,
    "model.cell": "tanh",
    "text.min_count": 0,
    "text.validation_at": "end",
}
"""Settings that came after 0.1.0, as `seed` or `text.column`: the value that its code had without them."""
GONE = frozenset({"compile"})
"""Settings of 0.1.0 that are no more: a run goes on without them."""


def as_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a config.json holds, with the names of today's TrainConfig."""
    settings = {name: dict(value) if isinstance(value, dict) else value for name, value in config.items()}
    for name, value in LACKED.items():
        group, last = _place(settings, name)
        group.setdefault(last, value)
    for name in GONE:
        group, last = _place(settings, name)
        group.pop(last, None)
    return settings


def _place(settings: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The group that the setting `name` is in, and its name there."""
    where, _, last = name.rpartition(".")
    group = settings.setdefault(where, {}) if where else settings
    return (group if isinstance(group, dict) else {}), last
