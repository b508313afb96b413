"""How well a model predicts a text: every character once, the state carried along the text, in bounded memory.

One loop serves `--score` and training's evaluation. The text is read as contiguous streams side by side: a batch costs
little more than one row. A stream that does not start the text first reads the characters before its start, unscored,
until its state is the carried one to within rounding. A text whose end is not known is read so block by block, where
the first stream of a block goes on from the last of the block before.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Nats, State
from charrnn.errors import CorpusError

__all__ = [
    "BLOCK_CHARS",
    "MAX_STREAMS",
    "MIN_STREAM_CHARS",
    "WARM_UP",
    "Predictor",
    "ScoredBlock",
    "ScoredPart",
    "Scores",
    "score_blocks",
    "score_streams",
]

BLOCK_CHARS = 2**19
"""Characters of a block: what bounds the memory (some 10 MB), and makes the warm-up 3 % of the work."""
WARM_UP = 256
"""Characters read, unscored, before a stream that starts inside a block: what a state still remembers is newer."""
MAX_STREAMS = 64
MIN_STREAM_CHARS = 1024

Windows: TypeAlias = Callable[[npt.NDArray[np.int64], int], Ids]
"""(starts [rows], length) -> ids [rows, length]: the characters of a text from each of `starts` on."""


class Predictor(Protocol):
    """What scoring asks of a model; the sampler's `StepModel` is one, training's `TorchPredictor` another."""

    def initial_state(self, batch: int) -> State:
        """The state of `batch` texts before their first character."""

    def predict(self, ids: Ids, state: State) -> tuple[Nats, Ids, State]:
        """Read all but the last of `ids` [T + 1, batch]: surprise and guess [T, batch] of all but the first."""

    def chars_at_once(self, batch: int) -> int:
        """The T, at least 1, that `predict` does best, and in bounded memory."""


class ScoredPart(NamedTuple):
    """Characters of each stream, with what the model thought of them before it read them: arrays [T, streams]."""

    places: npt.NDArray[np.int64]
    """Where the characters lie: 0 is the first that is scored."""
    ids: Ids
    """The characters."""
    nats: Nats
    """Their surprise: the negative logarithm of their probability."""
    guesses: Ids
    """The likeliest characters in their places."""
    state: State
    """Of each stream, before it reads the last of `ids`."""


@dataclass(frozen=True, kw_only=True)
class ScoredBlock:
    """Consecutive characters of a text, with what the model thought of each before it read it: arrays [T]."""

    ids: Ids
    """The characters."""
    nats: Nats
    """Their surprise: the negative logarithm of their probability."""
    guesses: Ids
    """The likeliest characters in their places."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well a model predicts a text."""

    loss_nats: float
    """Mean surprise of a character, in nats."""
    accuracy: float
    """Share of the characters that were the likeliest."""
    characters: int
    """Characters that were scored: of a whole text all but the first."""

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.loss_nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(loss): among how many equally likely characters the model seems to choose."""
        return math.exp(self.loss_nats) if self.loss_nats < 709 else math.inf  # exp(710) is beyond float64

    @classmethod
    def of(cls, blocks: Iterable[ScoredBlock]) -> "Scores":
        """The scores of all `blocks` together. Raises CorpusError where they hold no character."""
        nats, hits, characters = 0.0, 0, 0
        for block in blocks:
            nats += float(block.nats.sum(dtype=np.float64))
            hits += int((block.ids == block.guesses).sum())
            characters += len(block.ids)
        if not characters:
            raise CorpusError("a text of fewer than two characters cannot be scored: the first predicts the second")
        return cls(loss_nats=nats / characters, accuracy=hits / characters, characters=characters)


def score_blocks(model: Predictor, pieces: Iterable[Ids]) -> Iterator[ScoredBlock]:
    """Score the text whose ids are `pieces` [T] one after the other, cut anywhere; the cuts do not show.

    The text's first character is not scored, for nothing predicts it. float32, as training's evaluation.
    """
    state = model.initial_state(1)
    for ids in _overlapping(pieces, BLOCK_CHARS):
        nats = np.empty(len(ids) - 1, np.float32)
        guesses = np.empty(len(ids) - 1, ids.dtype)
        for part in score_streams(model, _windows_of(ids), 0, len(ids) - 1, state=state):
            nats[part.places], guesses[part.places] = part.nats, part.guesses
        state = tuple(each[:, -1:] for each in part.state)
        yield ScoredBlock(ids=ids[1:], nats=nats, guesses=guesses)


def _windows_of(ids: Ids) -> Windows:
    return lambda starts, length: ids[starts[:, None] + np.arange(length)]


def _overlapping(pieces: Iterable[Ids], size: int) -> Iterator[Ids]:
    """Blocks of `size` + 1 ids, the last one shorter, each beginning with the last id of the one before."""
    held: list[Ids] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count > size:
            ids = np.concatenate(held)
            while len(ids) > size:
                yield ids[: size + 1]
                ids = ids[size:]
            held, count = [ids.copy()], len(ids)
    if count > 1:
        yield np.concatenate(held)


def score_streams(
    model: Predictor,
    windows: Windows,
    start: int,
    length: int,
    *,
    state: State | None = None,
    share: slice = slice(None),
) -> Iterator[ScoredPart]:
    """Score the `length` characters, at least 1, that come after the one at `start`, each once.

    The text's first stream begins with `state`, that of one text before the character at `start` (None: with nothing).
    How the text is cut into streams depends on `length` alone; `share` is which of them to read.
    The last part is of the last stream alone, or of streams of which it is the last.
    """
    streams = max(1, min(MAX_STREAMS, length // MIN_STREAM_CHARS))
    each = length // streams
    offsets = (np.arange(streams) * each)[share]
    if not len(offsets):
        return
    states = _warm_up(model, windows, start, offsets, model.initial_state(1) if state is None else state)
    states = yield from _read_on(model, windows, start, offsets, each, states)
    if offsets[-1] == (streams - 1) * each:  # the last stream goes on to the end
        last = tuple(part[:, -1:] for part in states)
        yield from _read_on(model, windows, start, offsets[-1:] + each, length - streams * each, last)


def _warm_up(model: Predictor, windows: Windows, start: int, offsets: npt.NDArray[np.int64], first: State) -> State:
    """The states of the streams at `offsets` before their first characters: that at 0 has the state `first`."""
    inside = offsets[offsets > 0]
    state = model.initial_state(len(inside))
    if len(inside):
        for part in _read_on(model, windows, start - WARM_UP, inside, WARM_UP, state):
            state = part.state
    if len(inside) == len(offsets):
        return state
    return tuple(np.concatenate(parts, axis=1) for parts in zip(first, state, strict=True))


def _read_on(
    model: Predictor, windows: Windows, start: int, offsets: npt.NDArray[np.int64], length: int, state: State
) -> Generator[ScoredPart, None, State]:
    """Score `length` characters of each stream after the one at start + its offset; returns the states after them."""
    at_once = model.chars_at_once(len(offsets))
    for done in range(0, length, at_once):
        T = min(at_once, length - done)
        places = offsets + done + np.arange(T)[:, None]
        ids = windows(start + places[0], T + 1).T
        nats, guesses, state = model.predict(ids, state)
        yield ScoredPart(places, ids[1:], nats, guesses, state)
    return state
