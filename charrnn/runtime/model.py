"""A model.onnx, loaded and checked against the contract of export/README.md.

The graph in the file is one step: it reads one character of each text, and returns the logits of the next one and the
new state, which is what the model remembers of the texts until the next step.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, Unpack

import numpy as np
import numpy.typing as npt
import onnxruntime

from charrnn.arrays import Ids, Logits, State
from charrnn.errors import ModelFileError
from charrnn.runtime.metadata import ModelMetadata
from charrnn.runtime.sampling import Noise, Sampler, fresh_seed
from charrnn.runtime.scan_sessions import ScanSessions
from charrnn.runtime.session import find_model_file, open_session, read_model_file, run_session
from charrnn.runtime.step_model import StepModel, TextState
from charrnn.runtime.stream import TextStream, encode_prompt, start_state
from charrnn.runtime.tracing import Trace, joined_trace, trace_ids
from charrnn.sampling_config import SamplingConfig, SamplingSettings
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["OnnxModel"]

_MIN_SCAN_CHARS = 64
"""Shorter texts are read without a Scan: to open its session, once, takes as long as 100 to 500 steps."""

_PIECE_CHARS = 2**16
"""A long text is encoded in such pieces."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OnnxModel(StepModel):
    """A trained model in onnxruntime. It keeps no state of any text, so threads may share it.

        model = charrnn.load("model.onnx")
        text = model.stream("the ", temperature=0.7, seed=1)
        for character in itertools.islice(text, 100):
            print(character, end="")
        answer = model.stream("and then ", state=text.state)  # goes on from there

    Dimensions: L layers, H hidden, V vocabulary.
    """

    path: Path
    """The file it was loaded from."""
    vocabulary: Vocabulary
    """The V characters and their ids."""
    normaliser: Normaliser
    """What was done to the corpus; apply it to every prompt."""
    config: dict[str, Any]
    """The model's configuration: embedding_size, hidden_size, num_layers, ..."""
    training: dict[str, Any]
    """A summary of the training, free in form."""
    _session: onnxruntime.InferenceSession
    _state_sizes: dict[str, tuple[int, int]]
    """Name of each kind of state -> (L, H)."""
    _scans: ScanSessions
    """The same graph in a Scan, for many steps in one call."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load an ONNX file, the model.onnx of a run directory, or that of a Hub address, `hf://OWNER/NAME[@REVISION]`.

        Raises ModelFileError where the file is missing, damaged, not a charrnn model, or of a newer format, HubError
        where it cannot be fetched.
        """
        file = find_model_file(path)
        try:
            content = read_model_file(file)
            session = open_session(content)
            metadata = ModelMetadata.from_properties(session.get_modelmeta().custom_metadata_map)
            sizes = _read_signature(session)
            model = cls(
                path=file,
                vocabulary=metadata.vocabulary,
                normaliser=metadata.normaliser,
                config=metadata.config,
                training=metadata.training,
                _session=session,
                _state_sizes=sizes,
                _scans=ScanSessions(content, sizes, len(metadata.vocabulary)),
            )
            for batch in (1, 2):  # with a batch of 1 a graph that mixes up its axes could pass
                model._try_one_step(batch)
        except ModelFileError as error:
            raise ModelFileError(f"{file}: {error}") from error
        except UnicodeDecodeError as error:  # a name or a text in the file
            raise ModelFileError(f"{file}: it is damaged (not UTF-8): export or copy it again") from error
        return model

    def initial_state(self, batch: int) -> State:
        """The state of `batch` texts before their first character: zeros [L, batch, H], one array for each kind."""
        return tuple(np.zeros((L, batch, H), np.float32) for L, H in self._state_sizes.values())

    def step(self, token: Ids, state: State) -> tuple[Logits, State]:
        """Read one character of each text: one run of the file's graph.

        token: int64 [batch], each at least 0 and below V (not checked: onnxruntime takes -1 for the last character).
        state: from `initial_state` or the step before.
        Returns logits float32 [batch, V] of the next character, and the new state.
        """
        feeds = {**dict(zip(self._state_sizes, state, strict=True)), "token": token}
        logits, *next_state = run_session(self._session, feeds, self._output_names)
        return logits, tuple(next_state)

    @property
    def state_sizes(self) -> Mapping[str, tuple[int, int]]:
        """Name of each kind of state -> (L, H)."""
        return self._state_sizes

    @cached_property
    def _output_names(self) -> list[str]:
        return ["logits", *(f"next_{name}" for name in self._state_sizes)]

    @property
    def why_single_steps(self) -> str:
        """Where a step is a call of onnxruntime, which is slower than many steps a call: why, in one line; else empty.

        It is known once the model has written or read.
        """
        return self._scans.refusal

    def read(self, tokens: Ids, state: State) -> tuple[Logits, State]:
        """See `StepModel`. Many characters are read in one call of onnxruntime."""
        read = self._scans.read(tokens, state) if len(tokens) >= _MIN_SCAN_CHARS else None
        return read or super().read(tokens, state)

    def follow(self, tokens: Ids, state: State) -> State:
        """See `StepModel`. Many characters are read in one call of onnxruntime."""
        states = self._scans.follow(tokens, state) if len(tokens) >= _MIN_SCAN_CHARS else None
        return states or super().follow(tokens, state)

    def trace(self, text: str) -> Trace:
        """What the model remembers after each character of `text`, read from its beginning.

        text: it is normalised as the corpus was; T characters are left of it.
        Returns float32 [T, L, H] for each kind of state by name: `state`, and of an LSTM `cell`. That is 4 T L H bytes
        each: for a long text there is `trace_blocks`.
        Raises VocabularyError for characters that the model lacks.
        """
        return joined_trace(self, encode_prompt(self, text))

    def trace_blocks(self, text: Iterable[str]) -> Iterator[Trace]:
        """The same as `trace`, a block after the other of a few MB each, in memory that is bounded.

        text: a text, or pieces of it, cut anywhere, such as the lines of an open file.
        Raises VocabularyError where it comes to a character that the model lacks.
        """
        pieces = (
            (text[i : i + _PIECE_CHARS] for i in range(0, len(text), _PIECE_CHARS)) if isinstance(text, str) else text
        )
        return trace_ids(self, self._encoded(pieces))

    def _encoded(self, pieces: Iterable[str]) -> Iterator[Ids]:
        position = 0
        for piece in self.normaliser.stream(pieces):
            yield self.vocabulary.encode(piece, position=position)
            position += len(piece)

    def _write_chunk(
        self, token: Ids, state: State, noise: Noise, config: SamplingConfig
    ) -> tuple[npt.NDArray[np.int64], State]:
        written = self._scans.write(token, state, noise, config)
        return written or super()._write_chunk(token, state, noise, config)

    def stream(
        self,
        prompt: str = "",
        *,
        length: int | None = None,
        seed: int | None = None,
        state: TextState | None = None,
        **settings: Unpack[SamplingSettings],
    ) -> TextStream:
        """Continue `prompt`: an iterator of `length` characters, each a str, without end where `length` is None.

        prompt: it is normalised as the corpus was, and is not yielded.
        seed: the same seed gives the same text; None, another each time.
        state: the `state` of an earlier stream of this model, whose text the prompt continues. An application can keep
            many, one for each conversation.
        settings: how characters are chosen, such as `temperature=0.7`: the fields of `SamplingConfig`.
        Raises VocabularyError (the prompt has characters that the model lacks), ConfigError.
        """
        sampler = Sampler(SamplingConfig(**settings), fresh_seed() if seed is None else seed)
        return TextStream(self, start_state(self, encode_prompt(self, prompt), 1, state), sampler, length)

    def _try_one_step(self, batch: int) -> None:
        """Run the graph once and check what it returns: the shapes that a file declares may be wrong."""
        state, V = self.initial_state(batch), len(self.vocabulary)
        logits, next_state = self.step(np.linspace(V - 1, 0, batch).astype(np.int64), state)
        if logits.shape != (batch, V):
            raise ModelFileError(
                f"its graph scores {logits.shape[-1]} characters and its vocabulary has {V}: export it again"
            )
        if [part.shape for part in next_state] != [part.shape for part in state]:
            raise ModelFileError("its state changes shape from one character to the next: export it again")
        if not np.isfinite(logits).all():
            raise ModelFileError("its weights are not finite numbers: train it again, with a lower learning rate")


def _read_signature(session: onnxruntime.InferenceSession) -> dict[str, tuple[int, int]]:
    """Check the names, types and shapes of inputs and outputs; return (L, H) of each kind of state by name.

    Every input other than `token` is a state; the output `next_` + its name is that state after the step.
    """
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node.type for node in session.get_outputs()}
    token = inputs.pop("token", None)
    expected = {"logits", *(f"next_{name}" for name in inputs)}
    if token is None or not inputs or set(outputs) != expected:
        raise ModelFileError(
            f"it is no charrnn model (inputs {_names(session.get_inputs())}; outputs {_names(session.get_outputs())}; "
            "expected token, state; logits, next_state)"
        )
    if token.type != "tensor(int64)" or len(token.shape) != 1 or _is_fixed(token.shape[0]):
        raise ModelFileError(f"its input token is {token.type} {token.shape}; expected tensor(int64) ['batch']")
    for name, node in inputs.items():
        fixed = [_is_fixed(size) for size in node.shape]
        if node.type != "tensor(float)" or fixed != [True, False, True]:
            raise ModelFileError(
                f"its input {name!r} is {node.type} {node.shape}; expected tensor(float) [L, 'batch', H]"
            )
    for name, kind in outputs.items():
        if kind != "tensor(float)":
            raise ModelFileError(f"its output {name!r} is {kind}; expected tensor(float)")
    return {name: (node.shape[0], node.shape[2]) for name, node in inputs.items()}


def _is_fixed(size: int | str | None) -> bool:
    return isinstance(size, int)


def _names(nodes: list[onnxruntime.NodeArg]) -> str:
    return ", ".join(repr(node.name) for node in nodes)
