"""Autocompletion of a text that is being edited: what the model remembers of it, and how it most likely goes on."""

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, Logits, State
from charrnn.runtime import OnnxModel
from charrnn.runtime.stream import start_id

__all__ = ["KEPT_STATES", "Completion", "EditedText", "Suggestion"]

KEPT_STATES = 1024
"""States that are kept for going back: 2 MB at H=500. Deleting more than that reads the text again."""

Place: TypeAlias = tuple[Logits, State]
"""After a character: the logits [1, V] of the next one, and the state."""


class EditedText:
    """Reads a text as it changes: only what is new, for the states before the last characters are kept."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        nothing = model.initial_state(1)
        # As everywhere in charrnn, a text without a prompt starts as after an unseen character, others from nothing.
        logits, _ = model.step(np.array([start_id(model.vocabulary)]), nothing)
        self._start: Place = logits, nothing
        self._ids: Ids = np.empty(0, np.int64)
        self._places: deque[Place] = deque([self._start], maxlen=KEPT_STATES + 1)

    def read(self, ids: Ids) -> Place:
        """Where the text of `ids` [T] stands, which is what was read before but for its last characters."""
        both = min(len(ids), len(self._ids))
        same = next(iter(np.flatnonzero(ids[:both] != self._ids[:both])), both)
        dropped = len(self._ids) - same
        if dropped < len(self._places):
            for _ in range(dropped):
                self._places.pop()
        else:
            same = 0
            self._places.clear()
            self._places.append(self._start)
        self._read_on(ids[same:])
        self._ids = ids
        return self._places[-1]

    def _read_on(self, ids: Ids) -> None:
        tokens = ids.astype(np.int64)[:, None]
        _, state = self._places[-1]
        unkept = max(0, len(tokens) - KEPT_STATES)
        for start in range(0, unkept, KEPT_STATES):
            _, state = self._model.read(tokens[start : min(start + KEPT_STATES, unkept)], state)
            self._places.clear()
        for token in tokens[unkept:]:
            logits, state = self._model.step(token, state)
            self._places.append((logits, state))


@dataclass(frozen=True)
class Suggestion:
    """A way in which the text may go on."""

    text: str
    """Its next characters, up to the end of a word."""
    probability: float
    """That the text goes on with these characters, and that the word ends there."""


class Completion:
    """Finds the likeliest continuations up to the end of a word, by beam search.

    A continuation is what stands before the next word, if anything, and that word. Its probability is the product of
    those of its characters, times that of any character that ends the word.
    """

    def __init__(self, model: OnnxModel, *, count: int = 5, width: int = 32, longest: int = 24) -> None:
        """Of the `width` likeliest beginnings of each length the `count` likeliest words come out.

        A beginning of `longest` characters is a continuation as it is.
        """
        self._model = model
        self._count, self._width, self._longest = count, width, longest
        self._in_word = np.array([c.isalnum() or c == "_" for c in model.vocabulary.characters])

    def suggest(self, place: Place) -> list[Suggestion]:
        """The likeliest continuations at `place`, the likeliest first; at most `count`, fewer where there are fewer."""
        V = len(self._in_word)
        found: list[tuple[float, list[int]]] = []
        logits, state = place
        texts: list[list[int]] = [[]]
        costs = np.zeros(1)
        word = np.zeros(1, bool)  # of each beginning, whether its word has begun
        for _ in range(self._longest):
            nats = costs[:, None] - _log_softmax(logits)  # [beginnings, V], in nats from the start
            if not self._in_word.all():
                found += [(-_log_sum(-nats[row, ~self._in_word]), texts[row]) for row in np.flatnonzero(word)]
            nats[np.ix_(word, ~self._in_word)] = np.inf
            kept = _smallest(nats.ravel(), self._width)
            kept = kept[nats.flat[kept] < self._worst(found)]
            if not len(kept):
                break
            rows, ids = np.divmod(kept, V)
            texts = [[*texts[row], character_id] for row, character_id in zip(rows, ids.tolist(), strict=True)]
            costs, word = nats.flat[kept], word[rows] | self._in_word[ids]
            logits, state = self._model.step(ids, tuple(part[:, rows] for part in state))
        else:
            found += zip(costs.tolist(), texts, strict=True)
        best = sorted(found)[: self._count]
        return [Suggestion(self._model.vocabulary.decode(ids), float(np.exp(-cost))) for cost, ids in best]

    def _worst(self, found: list[tuple[float, list[int]]]) -> float:
        """The cost that a beginning must be below to be among the best: it only grows."""
        costs = sorted(cost for cost, _ in found)
        return costs[self._count - 1] if len(costs) >= self._count else np.inf


def _smallest(numbers: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """The places of the `count` smallest of `numbers` [n], the smallest first: sorting all would take long."""
    places = np.argpartition(numbers, count)[:count] if count < len(numbers) else np.arange(len(numbers))
    return places[np.argsort(numbers[places], kind="stable")]


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Log probabilities [B, V] of logits [B, V]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sum: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_sum


def _log_sum(logs: npt.NDArray[np.float64]) -> float:
    """log of the sum of exp(logs)."""
    return float(np.logaddexp.reduce(logs))
