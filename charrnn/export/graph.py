"""CharRNN -> the ONNX graph of one step: export/README.md's contract, with float32 weights."""

import logging
import warnings
from collections.abc import Sequence

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from charrnn.errors import ConfigError
from charrnn.export.file_cells import file_cell, input_parts
from charrnn.garbage import no_garbage_collection
from charrnn.model import CharRNN
from charrnn.model.cells import States, stacked

__all__ = ["OPSET", "OPSETS", "SingleStep", "trace"]

OPSET = 18
"""What torch's exporter writes, and the default: onnxruntime reads it since 1.14 (2023)."""
OPSETS = range(13, 25)
"""All operators of the graph mean the same in these. 13: Unsqueeze got its axes as an input. 24: the newest tried."""


class SingleStep(nn.Module):
    """One character of a CharRNN, with all that does not depend on the character before folded away.

    token int64 [batch], states [L, batch, H] each -> logits [batch, V], the next states. The embedding, W_e and the
    biases of layer 0 are one [V, G*H] table, or two (`input_parts`); matrices stand transposed, as the products want
    them. What a layer does with its input term and its product is the `forward` of the cell as a file has it
    (`file_cell`), gates in its order.
    """

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        self.num_layers, self.hidden_size = model.config.num_layers, model.config.hidden_size
        self.cell, order = file_cell(model.cell)
        gates = torch.arange(model.cell.gates * self.hidden_size).view(model.cell.gates, -1)[list(order)].flatten()
        self.state_steps: int | None = None
        """Where set, states are rounded to whole numbers of 1/state_steps before they are multiplied."""
        for layer in range(self.num_layers):
            self._add_layer(model, layer, gates)
        self.register_buffer("W_o", model.fc.weight.detach().T.contiguous())
        self.register_buffer("b_o", model.fc.bias.detach().clone())

    def _add_layer(self, model: CharRNN, layer: int, gates: Tensor) -> None:
        """Add the buffers of a layer; gates: the rows of its parameters, [G*H], in the file's order."""
        W_e, b_e, W_h, b_h = (model.parameter(name, layer).detach()[gates] for name in ("W_e", "b_e", "W_h", "b_h"))
        of_input, of_product = model.cell.split_bias(b_h)
        self.register_buffer(f"W_h_{layer}", W_h.T.contiguous())
        if layer == 0:
            parts = input_parts(self.cell, model.input_table().detach()[:, gates], of_product)
            self.tables = [f"table_{number}" if number else "table" for number in range(len(parts))]
            for name, part in zip(self.tables, parts, strict=True):
                self.register_buffer(name, part)
        else:
            self.register_buffer(f"W_e_{layer}", torch.cat(input_parts(self.cell, W_e.T, None), -1).contiguous())
            self.register_buffer(f"b_{layer}", torch.cat(input_parts(self.cell, b_e + of_input, of_product), -1))
        if of_product is not None and len(self.tables) == 1:
            self.register_buffer(f"b_h_{layer}", of_product)

    def forward(self, token: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Read one character of every row."""
        parts = tuple(F.embedding(token, self.get_buffer(table)) for table in self.tables)
        layers: list[States] = []
        for layer in range(self.num_layers):
            if layer > 0:
                inputs = self._product(layers[-1][0], f"W_e_{layer}") + self.get_buffer(f"b_{layer}")
                widths = [part.shape[-1] for part in parts]
                parts = torch.split(inputs, widths, -1) if len(widths) > 1 else (inputs,)
            before = tuple(state[layer] for state in states)
            *added, x = parts
            u = sum(added, start=self._recurrent_product(before[0], layer))
            after, _ = self.cell.forward(x, u, before)
            layers.append(after)
        logits = self._product(layers[-1][0], "W_o") + self.get_buffer("b_o")
        return logits, *stacked(layers)

    def _recurrent_product(self, state: Tensor, layer: int) -> Tensor:
        product = self._product(state, f"W_h_{layer}")
        bias = f"b_h_{layer}"
        return product + self.get_buffer(bias) if hasattr(self, bias) else product

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
    _name_layers(proto.graph, step.cell.states)
    return proto


def _name_layers(graph: onnx.GraphProto, states: Sequence[str]) -> None:
    """Call each layer [batch, H] of a state `NAME/LAYER` before the step, and `next_NAME/LAYER` after it.

    By these names charrnn's sampler passes layers from step to step without stacking them and taking them apart.
    """
    numbers = {tensor.name: int(numpy_helper.to_array(tensor)) for tensor in graph.initializer if not tensor.dims}
    made = {output: node for node in graph.node for output in node.output}
    names = {
        node.output[0]: f"{node.input[0]}/{numbers[node.input[1]]}"
        for node in graph.node
        if node.op_type == "Gather" and node.input[0] in states
    }
    for state in states:
        stack = made[f"next_{state}"]
        rows = stack.input if stack.op_type == "Concat" else stack.output
        names |= {made[row].input[0]: f"next_{state}/{layer}" for layer, row in enumerate(rows)}
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]


def _export(step: SingleStep) -> onnx.ModelProto:
    B = 2  # any number but 1, which the exporter would take for a constant
    names = step.cell.states
    states = [torch.zeros(step.num_layers, B, step.hidden_size) for _ in names]
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings(), _Quiet("torch.onnx", "onnxscript", "onnx_ir"), no_garbage_collection():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            step.eval(),
            (torch.zeros(B, dtype=torch.int64), *states),
            dynamo=True,
            opset_version=OPSET,
            input_names=["token", *names],
            output_names=["logits", *(f"next_{name}" for name in names)],
            dynamic_shapes=({0: batch}, tuple({1: batch} for _ in names)),
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
