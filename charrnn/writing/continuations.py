"""Continuations of a prompt, made side by side: each ends at its length, or once it has written the stop text."""

import time

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids
from charrnn.runtime import OnnxModel, Sampler, stream_ids
from charrnn.writing.output import Write

__all__ = ["Continuations"]


class Continuations:
    """`sampler.num_samples` continuations of one prompt."""

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
        """prompt_ids: [T]. length: characters of each continuation at most; None is without end.

        stop: a text that ends the continuation which has written it; empty for none.
        keep: whether a single continuation is kept for `text`; several always are. One that is not kept needs no
            memory, however long it is.
        Raises ConfigError where the length is below 1.
        """
        self._stream = stream_ids(model, prompt_ids, length=length, sampler=sampler)
        self._vocabulary = model.vocabulary
        self._kept = bytearray() if keep or sampler.num_samples > 1 else None
        self.prompt = model.vocabulary.decode(prompt_ids)
        self.config = sampler.config
        self.seed = sampler.seed
        self.num_samples = sampler.num_samples
        self.seconds = 0.0
        """How long `make` took, the reading of the prompt included."""
        self._length = 0
        self._stop = stop
        self._tails = [""] * sampler.num_samples  # the last characters of each, as many as `stop` has
        self._stopped_at: list[int | None] = [None] * sampler.num_samples

    def make(self, show: Write) -> None:
        """Make all continuations, side by side; `show` gets each character of the first one as soon as it is made.

        After an exception, such as an interruption, what was made until then is kept.
        """
        begin = time.perf_counter()
        characters, dtype = self._vocabulary.characters, self._vocabulary.dtype
        try:
            for ids in self._stream:
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
        """Whether all have ended, now that `ids` [num_samples] are written."""
        for row, character_id in enumerate(ids.tolist()):
            if self._stopped_at[row] is None:
                self._tails[row] = (self._tails[row] + self._vocabulary.characters[character_id])[-len(self._stop) :]
                if self._tails[row] == self._stop:
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
        """The prompt and continuation `row`, which must be one that is kept. Not to be called while `make` runs."""
        assert self._kept is not None
        ids = np.frombuffer(self._kept, self._vocabulary.dtype).reshape(-1, self.num_samples)
        return self.prompt + self._vocabulary.decode(ids[: self.length(row), row])

    @property
    def total_chars(self) -> int:
        """Characters of all continuations."""
        return sum(map(self.length, range(self.num_samples)))
