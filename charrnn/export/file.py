"""The file: a graph, its weights in the form that was asked for, the metadata; whole and checked, or not there."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from charrnn.errors import RunError
from charrnn.export.graph import OPSET, SingleStep, trace
from charrnn.export.parity import PARITY_TOLERANCE, QUANTISED_TOLERANCE, Step, parity
from charrnn.export.weights import STATE_STEPS, Arrays, Weights, store
from charrnn.files import write_atomically
from charrnn.model import CharRNN
from charrnn.runtime.metadata import ModelMetadata
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["export_onnx"]


def export_onnx(
    model: CharRNN,
    path: Path,
    *,
    vocabulary: Vocabulary,
    normaliser: Normaliser,
    training: dict[str, Any],
    text: str = "",
    weights: Weights = "float32",
    opset: int = OPSET,
) -> float:
    """Write `model` to `path`, whole and checked, or leave what was there; return the largest difference from torch.

    `training` is a JSON-able summary for the metadata; `text` is of the kind that the model knows, to check it on
    besides random characters. With float32 and float16 the difference is at most PARITY_TOLERANCE, with int8 and int4
    QUANTISED_TOLERANCE; torch computes with the weights that the file stands for, and rounds states as int8 does.
    Raises RunError where the file cannot be written or differs, ConfigError where there is no such opset.
    """
    # On the CPU, whatever it was trained on: not every backend runs there.
    reference = CharRNN(replace(model.config, recurrence="reference")).eval()
    reference.load_state_dict({name: value.detach().cpu() for name, value in model.state_dict().items()})
    step = SingleStep(reference)
    proto = trace(step, opset)
    metadata = ModelMetadata(
        vocabulary=vocabulary, normaliser=normaliser, config=asdict(model.config), training=training
    )
    onnx.helper.set_model_props(proto, metadata.to_properties())
    ids = vocabulary.encode(text, skip_unknown=True)
    # The graph itself is always compared, as float32, with the CharRNN that it was made from.
    serialised = _serialise(proto)
    difference = _check(path, parity(serialised, _one_character(reference), ids), PARITY_TOLERANCE)
    if weights != "float32":
        stored = store(proto, weights)
        step.state_steps = STATE_STEPS if weights == "int8" else None
        serialised = _serialise(proto)
        tolerance = PARITY_TOLERANCE if weights == "float16" else QUANTISED_TOLERANCE
        difference = _check(path, parity(serialised, _with_weights(step, stored), ids), tolerance)
    write_atomically(path, serialised)
    return difference


def _serialise(proto: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(proto, full_check=True)
    serialised: bytes = proto.SerializeToString()
    return serialised


def _check(path: Path, difference: float, tolerance: float) -> float:
    if not difference <= tolerance:
        raise RunError(
            f"{path}: not exported: the graph differs from torch by {difference:.1e} (at most {tolerance:.0e}): "
            "please report this with the versions of torch and onnxruntime"
        )
    return difference


def _one_character(model: CharRNN) -> Step:
    def step(token: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        logits, after = model(token[:, None], states)
        return logits[:, 0], *after

    return step


def _with_weights(step: SingleStep, weights: Arrays) -> SingleStep:
    """`step` with other numbers in its buffers, as their dtypes hold them."""
    for name, array in weights.items():
        step.get_buffer(name).copy_(torch.from_numpy(array))
    return step
