"""The readers and writers of one model file: sessions that do many characters a call, each made when first wanted."""

from collections.abc import Sequence
from functools import cached_property
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime

from charrnn.arrays import Ids, Logits, State
from charrnn.errors import ModelFileError
from charrnn.runtime.layers import Sizes
from charrnn.runtime.sampling import Noise, bounded
from charrnn.runtime.scan import Choice, StepGraph, reading_graph, writing_graph
from charrnn.runtime.session import open_session, run_session
from charrnn.sampling_config import SamplingConfig

__all__ = ["ScanSessions"]

_Kind: TypeAlias = Choice | Literal["read"]


class _Scan(NamedTuple):
    session: onnxruntime.InferenceSession
    input_names: list[str]


class ScanSessions:
    """Reads and writes as `StepModel` does, through Scan. Threads may share it."""

    def __init__(self, content: bytes, sizes: Sizes, V: int) -> None:
        self._content = content
        self._sizes = sizes
        self._V = V
        self._scans: dict[_Kind, _Scan | None] = {}
        self._lock = Lock()

    def read(self, tokens: Ids, state: State) -> tuple[Logits, State] | None:
        """Read `tokens` int64 [T, batch]: the logits [T, batch, V] after each, and the state after all.

        None where onnxruntime does not take the file's graph into a Scan.
        """
        results = self._run("read", state, [tokens])
        if results is None:
            return None
        state, (logits,) = results
        return logits, state

    def write(
        self, token: Ids, state: State, noise: Noise, config: SamplingConfig
    ) -> tuple[npt.NDArray[np.int64], State] | None:
        """Read `token` int64 [batch], choose the next one by the noise [T, batch, K], and so on, T times.

        Returns the choices int64 [T, batch], and the state before the last of them is read; None as `read` does.
        """
        kind, settings = self._choice(config)
        results = self._run(kind, state, [token, noise, *settings])
        if results is None:
            return None
        state, (_, ids) = results
        return ids, state

    def _choice(self, config: SamplingConfig) -> tuple[Choice, list[npt.NDArray[Any]]]:
        """The kind of writer that `config` needs, and its further inputs."""
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
        """The state afterwards, and the outputs that come after it."""
        scan = self._scan(kind)
        if scan is None:
            return None
        values = [*self._apart(state), *others]
        results = run_session(scan.session, dict(zip(scan.input_names, values, strict=True)))
        carried = len(values) - len(others)
        return self._together(results[:carried]), results[carried:]

    def _apart(self, state: State) -> Sequence[npt.NDArray[np.float32]]:
        return [layer for part in state for layer in part] if self._step.by_layer else state

    def _together(self, carried: list[npt.NDArray[np.float32]]) -> State:
        if not self._step.by_layer:
            return tuple(carried)
        layers = iter(carried)
        return tuple(np.stack([next(layers) for _ in range(L)]) for L, _ in self._sizes.values())

    def _scan(self, kind: _Kind) -> _Scan | None:
        with self._lock:
            if kind not in self._scans:
                self._scans[kind] = self._open(kind)
            return self._scans[kind]

    def _open(self, kind: _Kind) -> _Scan | None:
        try:
            graph = reading_graph(self._step) if kind == "read" else writing_graph(self._step, kind)
            session = open_session(graph)
        except ModelFileError:
            return None
        return _Scan(session, [node.name for node in session.get_inputs()])

    @cached_property
    def _step(self) -> StepGraph:
        return StepGraph(self._content, self._sizes, self._V)
