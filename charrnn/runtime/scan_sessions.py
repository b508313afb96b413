"""The Scan models of one model file (`scan.py`) in onnxruntime: one call does many steps, each of one character a text.

There is one session for reading, one for tracing, and one for each kind of choice when writing, opened when it is first
needed.
"""

from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime

from charrnn.arrays import Ids, Logits, State
from charrnn.errors import ModelFileError, first_line
from charrnn.runtime.sampling import Noise, bounded
from charrnn.runtime.scan import Choice, reading_graph, tracing_graph, writing_graph
from charrnn.runtime.session import open_session, run_session
from charrnn.runtime.step_graph import StateSizes, StepGraph
from charrnn.sampling_config import SamplingConfig

__all__ = ["ScanSessions"]

_Kind: TypeAlias = Choice | Literal["read", "trace"]


class _Scan(NamedTuple):
    """A session, and the names of its inputs in the order that `scan.py` gives them."""

    session: onnxruntime.InferenceSession
    input_names: list[str]


class ScanSessions:
    """Reads and writes what a `StepModel` does step by step, in one call. Threads may share it."""

    def __init__(self, content: bytes, sizes: StateSizes, V: int) -> None:
        """content: of the model file. sizes: (L, H) of each kind of state, by name."""
        self._content = content
        self._sizes = sizes
        self._V = V
        self._scans: dict[_Kind, _Scan | None] = {}
        self._lock = Lock()
        self.refusal = ""
        """What onnxruntime last had against the file's graph as the body of a Scan, in one line."""

    def read(self, tokens: Ids, state: State) -> tuple[Logits, State] | None:
        """Read `tokens` int64 [T, batch]: T steps.

        Returns the logits [T, batch, V] after each step, and the state after the last.
        None where onnxruntime refuses the file's graph as the body of a Scan. Raises ModelFileError.
        """
        results = self._run("read", state, [tokens])
        if results is None:
            return None
        state, (logits,) = results
        return logits, state

    def follow(self, tokens: Ids, state: State) -> State | None:
        """Read `tokens` int64 [T, batch]; the state after each of the T steps, [T, L, batch, H] for each kind.

        None where onnxruntime refuses the file's graph as the body of a Scan. Raises ModelFileError.
        """
        results = self._run("trace", state, [tokens])
        return results and self._joined(results[1], axis=1)

    def write(
        self, token: Ids, state: State, noise: Noise, config: SamplingConfig
    ) -> tuple[npt.NDArray[np.int64], State] | None:
        """Read `token` int64 [batch] and choose the next one; read that, and so on: T steps for noise [T, batch, K].

        Returns the chosen ids int64 [T, batch], and the state before the last of them is read.
        None where onnxruntime refuses the file's graph as the body of a Scan. Raises ModelFileError.
        """
        kind, settings = self._choice(config)
        results = self._run(kind, state, [token, noise, *settings])
        if results is None:
            return None
        state, (_, ids) = results
        return ids, state

    def _choice(self, config: SamplingConfig) -> tuple[Choice, list[npt.NDArray[Any]]]:
        """The choice that `config` asks for, and the inputs that `writing_graph` has for it."""
        if config.temperature == 0 or (not config.top_k and config.top_p == 1):
            return "all", []
        top_k = np.array([min(config.top_k or self._V, self._V)])
        if config.top_p == 1:
            return "top-k", [top_k]
        settings = (config.top_p, bounded(config.temperature))
        return "top-p", [top_k, *(np.array([setting], np.float32) for setting in settings)]

    def _run(
        self, kind: _Kind, state: State, others: list[npt.NDArray[Any]]
    ) -> tuple[State, list[npt.NDArray[Any]]] | None:
        """Run a Scan on the state and its `others` of inputs; the state after it, and its other outputs."""
        scan = self._opened(kind)
        if scan is None:
            return None
        values = [*self._split(state), *others]
        results = run_session(scan.session, dict(zip(scan.input_names, values, strict=True)))
        num_states = len(values) - len(others)
        return self._joined(results[:num_states]), results[num_states:]

    def _split(self, state: State) -> Sequence[npt.NDArray[np.float32]]:
        """The state as the Scan takes it: arrays [batch, H] for its layers, or [L, batch, H] as it is."""
        return [layer for part in state for layer in part] if self._step.by_layer else state

    def _joined(self, parts: list[npt.NDArray[np.float32]], axis: int = 0) -> State:
        """The state whose `_split` is `parts`. axis: of the layers in it, 1 where T comes first."""
        if not self._step.by_layer:
            return tuple(parts)
        layers = iter(parts)
        return tuple(np.stack([next(layers) for _ in range(L)], axis) for L, _ in self._sizes.values())

    def _opened(self, kind: _Kind) -> _Scan | None:
        with self._lock:
            if kind not in self._scans:
                self._scans[kind] = self._open(kind)
            return self._scans[kind]

    def _open(self, kind: _Kind) -> _Scan | None:
        """None where onnxruntime does not load the model: a name in the file may be one of ours, for example."""
        try:
            session = open_session(self._graph(kind))
        except ModelFileError as error:
            self.refusal = first_line(error.__cause__ or error)
            return None
        return _Scan(session, [node.name for node in session.get_inputs()])

    def _graph(self, kind: _Kind) -> bytes:
        if kind == "read":
            return reading_graph(self._step)
        return tracing_graph(self._step) if kind == "trace" else writing_graph(self._step, kind)

    @cached_property
    def _step(self) -> StepGraph:
        return StepGraph(self._content, self._sizes, self._V)
