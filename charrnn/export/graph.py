"""CharRNN -> the ONNX graph of one step: export/README.md's contract, with float32 weights."""

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor, nn

from charrnn.errors import ConfigError
from charrnn.model import CharRNN

__all__ = ["OPSET", "OPSETS", "SingleStep", "build"]

OPSET = 18
"""The default: onnxruntime reads it since 1.14 (2023)."""
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


def build(step: SingleStep, opset: int = OPSET) -> onnx.ModelProto:
    """The graph of `step`, written down node by node, its initialisers named as the buffers; nothing of this machine.

    torch.onnx.export makes the same nodes and takes seconds. That they compute what `step` computes is checked of every
    file, by `parity`. The IR version is the oldest that has the opset. Raises ConfigError where `opset` is none of
    OPSETS.
    """
    if opset not in OPSETS:
        raise ConfigError(f"opset is {opset}: it must be from {OPSETS.start} to {OPSETS.stop - 1} (default {OPSET})")
    L, (V, H) = step.num_layers, step.get_buffer("table").shape
    constants = {name: buffer.numpy() for name, buffer in step.named_buffers()}
    constants |= {f"layer_{layer}": np.array(layer, np.int64) for layer in range(L)} | {"axis": np.array([0], np.int64)}
    token = helper.make_tensor_value_info("token", onnx.TensorProto.INT64, ["batch"])
    logits = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", V])
    state, next_state = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [L, "batch", H]) for name in ("state", "next_state")
    )
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(_nodes(L), "step", [token, state], [logits, next_state], initializers)
    standard = helper.make_opsetid("", opset)
    ir_version = helper.find_min_ir_version_for([standard])
    return helper.make_model(graph, producer_name="charrnn", opset_imports=[standard], ir_version=ir_version)


def _nodes(L: int) -> list[onnx.NodeProto]:
    node = helper.make_node
    nodes = [node("Gather", ["table", "token"], ["inputs_0"])]
    for layer in range(L):
        if layer > 0:
            nodes.append(node("MatMul", [f"h_{layer - 1}", f"W_e_{layer}"], [f"up_{layer}"]))
            nodes.append(node("Add", [f"up_{layer}", f"b_{layer}"], [f"inputs_{layer}"]))
        nodes.append(node("Gather", ["state", f"layer_{layer}"], [f"before_{layer}"]))
        nodes.append(node("MatMul", [f"before_{layer}", f"W_h_{layer}"], [f"recurrent_{layer}"]))
        nodes.append(node("Add", [f"recurrent_{layer}", f"inputs_{layer}"], [f"sum_{layer}"]))
        nodes.append(node("Tanh", [f"sum_{layer}"], [f"h_{layer}"]))
    nodes.append(node("MatMul", [f"h_{L - 1}", "W_o"], ["scores"]))
    nodes.append(node("Add", ["scores", "b_o"], ["logits"]))
    if L == 1:  # a Concat of one would copy the state at every step
        return [*nodes, node("Unsqueeze", ["h_0", "axis"], ["next_state"])]
    nodes += [node("Unsqueeze", [f"h_{layer}", "axis"], [f"kept_{layer}"]) for layer in range(L)]
    return [*nodes, node("Concat", [f"kept_{layer}" for layer in range(L)], ["next_state"], axis=0)]
