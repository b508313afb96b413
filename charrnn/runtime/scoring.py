"""How well a model predicts a text: every character once, the state carried along the text, in bounded memory.

The text is read in blocks, and each block as contiguous streams side by side, as training's evaluation reads a split: a
batch costs little more than one row. The first stream of a block goes on from the last of the block before. The others
first read the characters before their start, unscored, until their state is the carried one to within rounding.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charrnn.errors import CorpusError
from charrnn.runtime.model import OnnxModel
from charrnn.runtime.step import Ids, Logits, State, StepModel

__all__ = ["BLOCK_CHARS", "WARM_UP", "ScoredBlock", "Scores", "score", "score_blocks"]

BLOCK_CHARS = 2**19
"""Characters of a block: what bounds the memory (some 10 MB), and makes the warm-up 3 % of the work."""
WARM_UP = 256
"""Characters read, unscored, before a stream that starts inside a block: what a state still remembers is newer."""
_MAX_STREAMS = 64
_MIN_STREAM_CHARS = 1024
_LOGITS_AT_ONCE = 2**18
"""Numbers (1 MB) that a call returns: enough to pay for it, and few enough to stay in a cache."""


@dataclass(frozen=True, kw_only=True)
class ScoredBlock:
    """Consecutive characters of a text, with what the model thought of each before it read it: arrays [T]."""

    ids: Ids
    """The characters."""
    nats: npt.NDArray[np.float32]
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


def score(model: OnnxModel, text: str) -> Scores:
    """Score `text`, normalised as prompts are.

    Raises VocabularyError for characters that the model lacks, CorpusError for fewer than two characters.
    """
    return Scores.of(score_blocks(model, [model.vocabulary.encode(model.normaliser(text))]))


def score_blocks(model: StepModel, pieces: Iterable[Ids]) -> Iterator[ScoredBlock]:
    """Score the text whose ids are `pieces` [T] one after the other, cut anywhere; the cuts do not show.

    The text's first character is not scored, for nothing predicts it. float32, as training's evaluation.
    """
    state = model.initial_state(1)
    for ids in _overlapping(pieces, BLOCK_CHARS):
        nats, guesses, state = _score_block(model, ids, state)
        yield ScoredBlock(ids=ids[1:], nats=nats, guesses=guesses)


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


def _score_block(model: StepModel, ids: Ids, state: State) -> tuple[npt.NDArray[np.float32], Ids, State]:
    """Surprise [T] and guess [T] of ids[1:], and the state before the last of `ids` [T + 1] is read.

    `state` is that of one text before ids[0] is read.
    """
    T = len(ids) - 1
    streams = max(1, min(_MAX_STREAMS, T // _MIN_STREAM_CHARS))
    each = T // streams
    nats = np.empty(T, np.float32)
    guesses = np.empty(T, ids.dtype)
    starts = np.arange(streams) * each
    state = _warm_up(model, ids, starts[1:], state)
    for times in _parts(model, streams, range(each)):
        places = starts + times
        nats[places], guesses[places], state = _read(model, ids, places, state)
    state = tuple(part[:, -1:] for part in state)
    rest = np.arange(streams * each, T)[:, None]  # the last stream goes on to the end
    if len(rest):
        nats[rest], guesses[rest], state = _read(model, ids, rest, state)
    return nats, guesses, state


def _warm_up(model: StepModel, ids: Ids, starts: npt.NDArray[np.intp], first: State) -> State:
    """The states before each of `starts`, behind the state `first` of the stream that starts the block."""
    state = model.initial_state(len(starts))
    for times in _parts(model, len(starts), range(-WARM_UP, 0)) if len(starts) else ():
        _, state = model.read(ids[starts + times].astype(np.int64), state)
    return tuple(np.concatenate(parts, axis=1) for parts in zip(first, state, strict=True))


def _parts(model: StepModel, batch: int, times: range) -> Iterator[npt.NDArray[np.intp]]:
    """`times` in parts [T, 1], each of as many as `batch` texts can be read at once."""
    length = max(1, _LOGITS_AT_ONCE // (batch * len(model.vocabulary)))
    for start in range(0, len(times), length):
        yield np.array(times[start : start + length])[:, None]


def _read(
    model: StepModel, ids: Ids, places: npt.NDArray[np.intp], state: State
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.intp], State]:
    """Read the characters at `places` [T, batch]; the surprise and the guess of each one's successor, and the state."""
    logits, state = model.read(ids[places].astype(np.int64), state)
    guesses = logits.argmax(axis=-1)
    return _surprise(logits, guesses, ids[places + 1]), guesses, state


def _surprise(logits: Logits, best: npt.NDArray[np.intp], targets: Ids) -> npt.NDArray[Any]:
    """-log softmax(logits)[targets] [T, batch] for logits [T, batch, V], where `best` is the place of each maximum."""
    highest = np.take_along_axis(logits, best[..., None], axis=-1)
    with np.errstate(over="ignore"):  # a difference beyond float32 is an infinite surprise
        # The first part is exactly 0 for the likeliest character, however large its logit is.
        nats = highest - np.take_along_axis(logits, targets[..., None].astype(np.intp), axis=-1)
        logits -= highest
        nats += np.log(np.exp(logits, out=logits).sum(axis=-1, keepdims=True))
    return nats[..., 0]
