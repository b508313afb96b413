"""CharRNN -> the ONNX graph of one step: export/README.md's contract, with float32 weights."""

import logging
import warnings

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charrnn.errors import ConfigError
from charrnn.model import CharRNN

__all__ = ["OPSET", "OPSETS", "SingleStep", "trace"]

OPSET = 18
"""What torch's exporter writes, and the default: onnxruntime reads it since 1.14 (2023)."""
OPSETS = range(13, 25)
"""All operators of the graph mean the same in these. 13: Unsqueeze got its axes as an input. 24: the newest tried."""


class SingleStep(nn.Module):
    """One character of a CharRNN, with all that does not depend on the character before folded away.

    token int64 [batch], state [L, batch, H] -> logits [batch, V], next_state [L, batch, H]. The embedding, W_e and the
    biases of layer 0 are one [V, H] table; matrices stand transposed, as the products want them.
    """

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        self.num_layers = model.config.num_layers
        self.state_steps: int | None = None
        """Where set, states are rounded to whole numbers of 1/state_steps before they are multiplied."""
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
                inputs = self._product(states[-1], f"W_e_{layer}") + self.get_buffer(f"b_{layer}")
            states.append(torch.tanh(self._product(state[layer], f"W_h_{layer}") + inputs))
        logits = self._product(states[-1], "W_o") + self.get_buffer("b_o")
        return logits, torch.stack(states)

    def _product(self, state: Tensor, matrix: str) -> Tensor:
        if self.state_steps is not None:
            state = torch.round(state * self.state_steps) / self.state_steps
        return state @ self.get_buffer(matrix)


def trace(step: SingleStep, opset: int = OPSET) -> onnx.ModelProto:
    """The graph of `step`, its initialisers named as the buffers; nothing of this machine in it.

    The IR version is the oldest that has the opset. Raises ConfigError where `opset` is none of OPSETS.
    """
    if opset not in OPSETS:
        raise ConfigError(f"opset is {opset}: it must be from {OPSETS.start} to {OPSETS.stop - 1} (default {OPSET})")
    proto = _export(step)
    (standard,) = proto.opset_import
    standard.version = opset
    proto.ir_version = onnx.helper.find_min_ir_version_for([standard])
    for node in proto.graph.node:
        # Where in which source file a node came from: paths of the machine that exported, of no use to a reader.
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    del proto.graph.value_info[:]
    return proto


def _export(step: SingleStep) -> onnx.ModelProto:
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
