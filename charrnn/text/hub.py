"""Data sets of the Hugging Face Hub, and local ones of the same form, as a part of a corpus."""

import logging
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
from datasets import Dataset
from huggingface_hub.utils.tqdm import disable_progress_bars

from charrnn.errors import CorpusError
from charrnn.text.sources import Part

__all__ = ["hub_part"]

_TEXT_TYPES = {"string", "large_string", "string_view"}
_ROWS = 100  # joined at once


def hub_part(word: str, *, column: str, split: str, cache_dir: Path) -> Part:
    """Return the rows of a data set's text column, joined by line feeds, as a part in UTF-8.

    `word` is `hub:NAME` or `hub:NAME:CONFIGURATION`. A row without a value is an empty line.
    Raises CorpusError if the data set, its split or its column cannot be had.
    """
    rows = _load(word, split, cache_dir)
    columns = [name for name, feature in rows.features.items() if getattr(feature, "dtype", None) in _TEXT_TYPES]
    if column not in columns:
        known = ", ".join(columns) or "none"
        raise CorpusError(f"{word}: no text column {column!r}; set --text.column to one of its text columns: {known}")
    return Part(name=word, blocks=lambda: _blocks(rows.data.column(column)), size_bytes=None, encoding="utf-8")


def _blocks(rows: pa.ChunkedArray) -> Iterator[bytes]:
    for start in range(0, len(rows), _ROWS):
        texts = [text or "" for text in rows.slice(start, _ROWS).to_pylist()]
        yield ("\n" * (start > 0) + "\n".join(texts)).encode()


def _load(word: str, split: str, cache_dir: Path) -> Dataset:
    _silence()
    name, _, configuration = word.removeprefix("hub:").partition(":")
    try:
        with warnings.catch_warnings(action="ignore"):
            return datasets.load_dataset(name, configuration or None, split=split, cache_dir=str(cache_dir / "hub"))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = textwrap.shorten(str(error.__cause__ or error), 300)  # one line of what are often several
        raise CorpusError(f"{word}: cannot load split {split!r} of this data set: {reason}") from error


def _silence() -> None:
    """Keep the bars and logs of `datasets` and `huggingface_hub` off the terminal, for good: what fails is raised."""
    datasets.disable_progress_bars()
    disable_progress_bars()
    for name in ("datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
