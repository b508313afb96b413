"""How a text that is being edited most likely goes on.

A step is one call of the model, on one character of each text that is read side by side; the state is what the model
remembers of them until the next step.
"""

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
"""States before the last characters that are kept: 2 MB at H=500. To delete more characters reads the text again."""

Prediction: TypeAlias = tuple[Logits, State]
"""What the model returns after a character of one text: the logits [1, V] of the next one, and the state."""


class EditedText:
    """Lets the model read a text that changes at its end: only what is new, for earlier states are kept."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        nothing = model.initial_state(1)
        # As wherever charrnn continues a prompt: an empty text goes on as if the unseen `start_id` had been read, any
        # other is read from a state of zeros.
        logits, _ = model.step(np.array([start_id(model.vocabulary)]), nothing)
        self._start: Prediction = logits, nothing
        self._ids: Ids = np.empty(0, np.int64)
        self._predictions: deque[Prediction] = deque([self._start], maxlen=KEPT_STATES + 1)

    def read(self, ids: Ids) -> Prediction:
        """The prediction after the text as it is now, `ids` [T].

        The beginning that it shares with the text of the last call is not read again.
        """
        both = min(len(ids), len(self._ids))
        same = next(iter(np.flatnonzero(ids[:both] != self._ids[:both])), both)
        dropped = len(self._ids) - same
        if dropped < len(self._predictions):
            for _ in range(dropped):
                self._predictions.pop()
        else:
            same = 0
            self._predictions.clear()
            self._predictions.append(self._start)
        self._read_on(ids[same:])
        self._ids = ids
        return self._predictions[-1]

    def _read_on(self, ids: Ids) -> None:
        """Read `ids` [T] after what was read, and keep the predictions after the last of them."""
        tokens = ids.astype(np.int64)[:, None]
        _, state = self._predictions[-1]
        unkept = max(0, len(tokens) - KEPT_STATES)
        for start in range(0, unkept, KEPT_STATES):
            _, state = self._model.read(tokens[start : min(start + KEPT_STATES, unkept)], state)
            self._predictions.clear()
        for token in tokens[unkept:]:
            logits, state = self._model.step(token, state)
            self._predictions.append((logits, state))


@dataclass(frozen=True)
class Suggestion:
    """A way in which the text may go on."""

    text: str
    """Its next characters, up to the end of a word."""
    probability: float
    """That the text goes on with these characters, and that the word ends there."""


class Completion:
    """Finds the likeliest continuations up to the end of a word, by beam search.

    A continuation is the next word, and before it whatever is no part of a word. Its probability is that of its
    characters, multiplied, times the probability that the next character is no part of a word.
    """

    def __init__(self, model: OnnxModel, *, count: int = 5, width: int = 32, longest: int = 24) -> None:
        """count: continuations to find. width: of the beginnings of each length, how many are followed up.

        longest: characters of a continuation at most; a beginning of that length counts as one.
        """
        self._model = model
        self._count, self._width, self._longest = count, width, longest
        self._in_word = np.array([c.isalnum() or c == "_" for c in model.vocabulary.characters])

    def suggest(self, after: Prediction) -> list[Suggestion]:
        """The continuations of a text after which the model predicts `after`: the likeliest first, at most `count`."""
        V = len(self._in_word)
        found: list[tuple[float, list[int]]] = []
        logits, state = after
        texts: list[list[int]] = [[]]
        costs = np.zeros(1)  # -log of the probability of each beginning
        word = np.zeros(1, bool)  # whether the word of each beginning has begun
        for _ in range(self._longest):
            nats = costs[:, None] - _log_softmax(logits)  # [beginnings, V]: the cost with each next character
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
        """The cost from which on a beginning cannot be among the best any more, for costs only grow."""
        costs = sorted(cost for cost, _ in found)
        return costs[self._count - 1] if len(costs) >= self._count else np.inf


def _smallest(numbers: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.intp]:
    """The indices of the `count` smallest of `numbers` [n], the smallest first, found without sorting all of them."""
    indices = np.argpartition(numbers, count)[:count] if count < len(numbers) else np.arange(len(numbers))
    return indices[np.argsort(numbers[indices], kind="stable")]


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """Log probabilities [B, V] of logits [B, V]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_sum: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_sum


def _log_sum(logs: npt.NDArray[np.float64]) -> float:
    """log of the sum of exp(logs)."""
    return float(np.logaddexp.reduce(logs))
