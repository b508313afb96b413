"""What a model remembers after each character of a text: its states, T characters by L layers by H hidden.

The text is read as one stream, never as several side by side as a score is: a unit that knows whether a quotation is
open remembers a character that may lie any number of characters back.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from charrnn.arrays import Ids, State

__all__ = ["Trace", "Traceable", "joined_trace", "trace_ids"]

Trace: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""Name of each kind of state -> what it was after each character, float32 [T, L, H]."""

_BLOCK_NUMBERS = 2**20
"""Numbers (4 MB) in a block of a trace: of a model of 1,000 units a thousand characters."""
_MIN_BLOCK_CHARS = 64


class Traceable(Protocol):
    """What tracing asks of a model; `OnnxModel` has it."""

    @property
    def state_sizes(self) -> Mapping[str, tuple[int, int]]:
        """Name of each kind of state -> (L, H)."""

    def initial_state(self, batch: int) -> State:
        """The state of `batch` texts before their first character."""

    def follow(self, tokens: Ids, state: State) -> State:
        """Read `tokens` [T, batch]: the state after each, [T, L, batch, H] for each kind."""


def trace_ids(model: Traceable, pieces: Iterable[Ids]) -> Iterator[Trace]:
    """Trace the text whose ids, each below V, are `pieces` [T] one after the other, cut anywhere; the cuts do not show.

    Yields blocks, in order, none for an empty text.
    """
    sizes = model.state_sizes
    at_once = max(_MIN_BLOCK_CHARS, _BLOCK_NUMBERS // sum(L * H for L, H in sizes.values()))
    state = model.initial_state(1)
    for ids in _blocks(pieces, at_once):
        states = model.follow(ids[:, None].astype(np.int64), state)
        state = tuple(np.ascontiguousarray(part[-1]) for part in states)
        yield {name: part[:, :, 0] for name, part in zip(sizes, states, strict=True)}


def _blocks(pieces: Iterable[Ids], size: int) -> Iterator[Ids]:
    """The same ids in blocks of `size`, the last one shorter."""
    held: list[Ids] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= size:
            ids = np.concatenate(held)
            whole = count - count % size
            yield from np.split(ids[:whole], range(size, whole, size))
            held, count = [ids[whole:].copy()], count % size
    if count:
        yield np.concatenate(held)


def joined_trace(model: Traceable, ids: Ids) -> Trace:
    """The blocks of `trace_ids` as one, whose arrays exist once only."""
    whole = {name: np.empty((len(ids), L, H), np.float32) for name, (L, H) in model.state_sizes.items()}
    done = 0
    for block in trace_ids(model, [ids]):
        for name, part in block.items():
            whole[name][done : done + len(part)] = part
        done += len(part)
    return whole
