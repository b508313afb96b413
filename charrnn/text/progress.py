"""Progress in bytes."""

from typing import TYPE_CHECKING, Any

from charrnn.bars import bar

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(label: str, total_bytes: int | None, *, progress: bool) -> "tqdm[Any]":
    """Return a bar to `update` by numbers of bytes; silent without `progress` and where nobody would see it."""
    disable = None if progress else True
    return bar(desc=label, total=total_bytes, unit="B", unit_scale=True, leave=False, disable=disable)
