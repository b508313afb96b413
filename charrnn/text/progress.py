"""Progress in bytes, on stderr where it is a terminal."""

from typing import Any

from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(label: str, total_bytes: int | None, *, progress: bool) -> "tqdm[Any]":
    """Return a bar to `update` by numbers of bytes; silent without `progress` and where stderr is no terminal."""
    # `disable=None` is tqdm's spelling of "unless it is a terminal".
    disable = None if progress else True
    return tqdm(desc=label, total=total_bytes, unit="B", unit_scale=True, leave=False, disable=disable)
