"""metrics.jsonl: the record of a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from charrnn.errors import RunError, first_line
from charrnn.files import sync, write_atomically

__all__ = ["MetricsFile", "Record"]

Record: TypeAlias = Mapping[str, float | str]
"""What is known at one step: `step`, `characters_seen`, and some of the names in docs/training.md's list."""


class MetricsFile:
    """metrics.jsonl: one JSON object a line, each with `step` and `characters_seen`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: Record) -> None:
        """Add one record; it is in the file, not in a buffer, when this returns."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> RunError:
        return RunError(f"{self._path}: cannot be written ({error.strerror}): free space there and resume")

    def read(self) -> list[Record]:
        """All whole records; a last line that a crash cut short is left out."""
        if not self._path.exists():
            return []
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]
            records: list[Record] = [json.loads(line) for line in lines]
            if not all(isinstance(r, dict) and isinstance(r.get("step"), int) for r in records):
                raise ValueError("a line is no record of a step")
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self._path}: cannot be read ({first_line(error)}): mend or delete that line") from error
        return records

    def flush(self) -> None:
        """Have all records on the disk: a checkpoint that is there must find those before it, after a crash as well."""
        try:
            sync(self._path)
        except FileNotFoundError:
            pass  # nothing is recorded yet
        except OSError as error:
            raise self._not_written(error) from error

    def rewind(self, step: int, *, evaluated: bool) -> list[Record]:
        """Forget what came after `step`, and after its own evaluation if `evaluated`: it will be written again.

        Returns what is kept.

        The record of the test split goes in any case: that is the end of a run, and this one goes on.
        """
        kept = [record for record in self.read() if "best_step" not in record and _before(record, step, evaluated)]
        write_atomically(self._path, "".join(json.dumps(record) + "\n" for record in kept))
        return kept


def _before(record: Record, step: int, evaluated: bool) -> bool:
    """Whether a record was written before the checkpoint of `step`."""
    at = float(record["step"])
    return at < step or (at == step and (evaluated or "train_loss_nats" in record))
