"""CharRNN -> model.onnx: the single-step graph of export/README.md, checked against torch before it takes its name."""

import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.errors import RunError
from charrnn.files import write_atomically
from charrnn.model import CharRNN
from charrnn.runtime.metadata import ModelMetadata
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["OPSET", "PARITY_TOLERANCE", "SingleStep", "export_onnx"]

OPSET = 18
IR_VERSION = 10  # what onnxruntime reads since 1.18 (2024); newer ones say nothing that this graph needs
PARITY_TOLERANCE = 1e-5
"""Largest difference of a logit or state between torch and the file that is exported, both float32.

Where logits are above 1 they are compared in units of the largest: float32 knows a logit of 30,000 to within 0.002.
"""
_PARITY_STEPS = 64
_PARITY_BATCH = 3


class SingleStep(nn.Module):
    """One character of a CharRNN, with all that does not depend on the character before folded away.

    token int64 [batch], state [L, batch, H] -> logits [batch, V], next_state [L, batch, H]. The embedding, W_e and the
    biases of layer 0 are one [V, H] table; matrices stand transposed, as the products want them.
    """

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        self.num_layers = model.config.num_layers
        self.register_buffer("table", model.input_table().detach().clone())
        for layer in range(self.num_layers):
            self.register_buffer(f"W_h_{layer}", model.parameter("W_h", layer).detach().T.contiguous())
            if layer > 0:
                bias = model.parameter("b_e", layer) + model.parameter("b_h", layer)
                self.register_buffer(f"W_e_{layer}", model.parameter("W_e", layer).detach().T.contiguous())
                self.register_buffer(f"b_{layer}", bias.detach())
        self.register_buffer("W_o", model.fc.weight.detach().T.contiguous())
        self.register_buffer("b_o", model.fc.bias.detach().clone())

    def forward(self, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Read one character of every row."""
        inputs = F.embedding(token, self.get_buffer("table"))
        states: list[Tensor] = []
        for layer in range(self.num_layers):
            if layer > 0:
                inputs = states[-1] @ self.get_buffer(f"W_e_{layer}") + self.get_buffer(f"b_{layer}")
            states.append(torch.tanh(state[layer] @ self.get_buffer(f"W_h_{layer}") + inputs))
        logits = states[-1] @ self.get_buffer("W_o") + self.get_buffer("b_o")
        return logits, torch.stack(states)


def export_onnx(
    model: CharRNN,
    path: Path,
    *,
    vocabulary: Vocabulary,
    normaliser: Normaliser,
    training: dict[str, Any],
    text: str = "",
) -> float:
    """Write `model` to `path`, whole and checked, or leave what was there; return the largest difference from torch.

    `training` is a JSON-able summary for the metadata; `text` is of the kind that the model knows, to check it on
    besides random characters. Raises RunError where the file cannot be written.
    """
    reference = CharRNN(model.config).eval()
    reference.load_state_dict({name: value.detach().cpu() for name, value in model.state_dict().items()})
    proto = _trace(SingleStep(reference))
    metadata = ModelMetadata(
        vocabulary=vocabulary, normaliser=normaliser, config=asdict(model.config), training=training
    )
    onnx.helper.set_model_props(proto, metadata.to_properties())
    onnx.checker.check_model(proto, full_check=True)
    serialised = proto.SerializeToString()
    difference = parity(serialised, reference, vocabulary.encode(text, skip_unknown=True))
    if not difference <= PARITY_TOLERANCE:
        raise RunError(
            f"{path}: not exported: the graph differs from torch by {difference:.1e} (at most {PARITY_TOLERANCE:.0e}): "
            "please report this with the versions of torch and onnxruntime"
        )
    write_atomically(path, serialised)
    return difference


def _trace(step: SingleStep) -> onnx.ModelProto:
    B = 2  # any number but 1, which the exporter would take for a constant
    L, H = step.num_layers, step.get_buffer("table").shape[1]
    example = (torch.zeros(B, dtype=torch.int64), torch.zeros(L, B, H))
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), _Quiet("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            step.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["token", "state"],
            output_names=["logits", "next_state"],
            dynamic_shapes=({0: batch}, {1: batch}),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    proto.ir_version = IR_VERSION
    for node in proto.graph.node:
        # Where in which source file a node came from: paths of the machine that exported, of no use to a reader.
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.graph.value_info[:]
    return proto


class _Quiet:
    """Silence loggers for a while."""

    def __init__(self, *names: str) -> None:
        self._loggers = [logging.getLogger(name) for name in names]

    def __enter__(self) -> None:
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *exc: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)


def parity(serialised: bytes, model: CharRNN, text: npt.NDArray[np.integer[Any]] | None = None) -> float:
    """The largest difference of any logit or state, over steps that both sides start from torch's state.

    The rows read `text` (ids [T], where there is one), every character of the vocabulary once, and random characters.
    Logits count in units of the largest of their step, where that is above 1 (see PARITY_TOLERANCE). The two do not
    each carry a state of their own: a trained recurrence drives apart what differs by a rounding.
    """
    session = onnxruntime.InferenceSession(serialised, providers=["CPUExecutionProvider"])
    state = model.initial_state(_PARITY_BATCH)
    worst = 0.0
    for token in _parity_tokens(model.config.vocabulary_size, text):
        logits, next_state = session.run(["logits", "next_state"], {"token": token, "state": state.numpy()})
        with torch.inference_mode():
            expected, state = model(torch.from_numpy(token)[:, None], state)
        unit = max(1.0, float(expected.abs().max()))
        differences = (
            np.abs(logits - expected[:, 0].numpy()).max() / unit,
            np.abs(next_state - state.numpy()).max(),
        )
        worst = max(worst, *map(float, differences)) if np.isfinite(differences).all() else float("inf")
    return worst


def _parity_tokens(V: int, text: npt.NDArray[np.integer[Any]] | None) -> npt.NDArray[np.int64]:
    """What `parity` reads: ids [steps, _PARITY_BATCH]."""
    tokens = np.random.default_rng(0).integers(0, V, (max(_PARITY_STEPS, V), _PARITY_BATCH))
    tokens[:V, 0] = np.arange(V)
    if text is not None:
        tokens[: len(text), 1] = text[: len(tokens)]
    return tokens
