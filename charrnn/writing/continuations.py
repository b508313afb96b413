"""Continuations of a prompt, made side by side: each ends at its length, or once it has written the stop text."""

import time

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids
from charrnn.runtime import OnnxModel, Sampler, stream_ids
from charrnn.writing.output import Write

__all__ = ["Continuations"]


class Continuations:
    """`sampler.num_samples` continuations of the prompt whose ids are `prompt_ids` [T].

    length: characters of each at most; None is without end. stop: a text after which one ends; empty is never.
    keep: whether the first is kept as well. A single one that is not kept needs no memory, however long it is.

    Raises ConfigError where the length is below 1.
    """

    def __init__(
        self,
        model: OnnxModel,
        prompt_ids: Ids,
        sampler: Sampler,
        *,
        length: int | None,
        stop: str = "",
        keep: bool = False,
    ) -> None:
        self._steps = stream_ids(model, prompt_ids, length=length, sampler=sampler)
        self._vocabulary = model.vocabulary
        self._kept = bytearray() if keep or sampler.num_samples > 1 else None
        self.prompt = model.vocabulary.decode(prompt_ids)
        self.num_samples = sampler.num_samples
        self.seconds = 0.0
        """How long `make` took, the reading of the prompt included."""
        self._length = 0
        self._stop = stop
        self._ends = [""] * sampler.num_samples
        self._stopped_at: list[int | None] = [None] * sampler.num_samples

    def make(self, show: Write) -> None:
        """Write all continuations; `show` gets each character of the first one as soon as it is made.

        After an exception, such as an interruption, what was made until then is there.
        """
        begin = time.perf_counter()
        characters, dtype = self._vocabulary.characters, self._vocabulary.dtype
        try:
            for ids in self._steps:
                if self._kept is not None:
                    self._kept += ids.astype(dtype).tobytes()
                self._length += 1
                if self._stopped_at[0] is None:
                    show(characters[ids[0]])
                if self._stop and self._all_stopped(ids):
                    break
        finally:
            self.seconds = time.perf_counter() - begin

    def _all_stopped(self, ids: npt.NDArray[np.int64]) -> bool:
        for row, character_id in enumerate(ids.tolist()):
            if self._stopped_at[row] is None:
                self._ends[row] = (self._ends[row] + self._vocabulary.characters[character_id])[-len(self._stop) :]
                if self._ends[row] == self._stop:
                    self._stopped_at[row] = self._length
        return None not in self._stopped_at

    def length(self, row: int) -> int:
        """Characters that continuation `row` has."""
        stopped_at = self._stopped_at[row]
        return self._length if stopped_at is None else stopped_at

    def stopped(self, row: int) -> bool:
        """Whether continuation `row` ended with the stop text."""
        return self._stopped_at[row] is not None

    def text(self, row: int) -> str:
        """The prompt and continuation `row`, which must be one that is kept. Not to be asked while they are made."""
        assert self._kept is not None
        ids = np.frombuffer(self._kept, self._vocabulary.dtype).reshape(-1, self.num_samples)
        return self.prompt + self._vocabulary.decode(ids[: self.length(row), row])

    @property
    def total_chars(self) -> int:
        """Characters of all continuations."""
        return sum(map(self.length, range(self.num_samples)))
