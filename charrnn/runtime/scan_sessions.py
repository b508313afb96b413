"""The readers and writers of one model file: sessions that do many characters a call, each made when first wanted."""

from threading import Lock
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from charrnn.errors import ModelFileError
from charrnn.runtime.sampling import SamplingConfig
from charrnn.runtime.scan import Choice, Sizes, reading_graph, writing_graph
from charrnn.runtime.session import open_session, run_session
from charrnn.runtime.step import Ids, Logits, State

__all__ = ["ScanSessions"]

_T_MIN, _T_MAX = 1e-200, 1e200
"""Between them logits / T is finite; beyond, top-p keeps what it keeps at the limit."""


class ScanSessions:
    """Reads and writes as `StepModel` does, through Scan. Threads may share it."""

    def __init__(self, content: bytes, sizes: Sizes, V: int) -> None:
        self._content = content
        self._sizes = sizes
        self._V = V
        self._sessions: dict[Choice | Literal["read"], onnxruntime.InferenceSession | None] = {}
        self._lock = Lock()

    def read(self, tokens: Ids, state: State) -> tuple[Logits, State] | None:
        """Read `tokens` int64 [T, batch]: the logits [T, batch, V] after each, and the state after all.

        None where onnxruntime does not take the file's graph into a Scan.
        """
        session = self._session("read")
        if session is None:
            return None
        *state_after, logits = _run(session, [*state, tokens])
        return logits, tuple(state_after)

    def write(
        self, token: Ids, state: State, noise: npt.NDArray[np.float64], config: SamplingConfig
    ) -> tuple[npt.NDArray[np.int64], State] | None:
        """Read `token` int64 [batch], choose the next one by the noise [T, batch, V], and so on, T times.

        Returns the choices int64 [T, batch], and the state before the last of them is read; None as `read` does.
        """
        choice, settings = self._choice(config)
        session = self._session(choice)
        if session is None:
            return None
        *state_after, _, ids = _run(session, [*state, token, noise, *settings])
        return ids, tuple(state_after)

    def _choice(self, config: SamplingConfig) -> tuple[Choice, list[npt.NDArray[Any]]]:
        """The kind of writer that `config` needs, and its further inputs."""
        if config.temperature == 0 or (not config.top_k and config.top_p == 1):
            return "all", []
        top_k = np.array([min(config.top_k or self._V, self._V)])
        if config.top_p == 1:
            return "top-k", [top_k]
        temperature = min(max(config.temperature, _T_MIN), _T_MAX)
        return "top-p", [top_k, np.array([config.top_p]), np.array([temperature])]

    def _session(self, kind: Choice | Literal["read"]) -> onnxruntime.InferenceSession | None:
        with self._lock:
            if kind not in self._sessions:
                self._sessions[kind] = self._open(kind)
            return self._sessions[kind]

    def _open(self, kind: Choice | Literal["read"]) -> onnxruntime.InferenceSession | None:
        try:
            if kind == "read":
                return open_session(reading_graph(self._content, self._sizes, self._V))
            return open_session(writing_graph(self._content, self._sizes, self._V, kind))
        except ModelFileError:
            return None


def _run(session: onnxruntime.InferenceSession, values: list[npt.NDArray[Any]]) -> list[Any]:
    """All outputs for all inputs, in their order."""
    names = (node.name for node in session.get_inputs())
    return run_session(session, dict(zip(names, values, strict=True)))
