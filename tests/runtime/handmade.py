"""A model.onnx built node by node from export/README.md, and the same function in numpy: the contract, read twice.

Nothing here comes from charrnn: if the package and the contract part ways, these files show it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
CHARACTERS = "\n !abcdefghijk"


@dataclass(frozen=True, kw_only=True)
class HandMade:
    """Random weights of an L-layer tanh RNN over `characters`."""

    L: int = 1
    H: int = 7
    characters: str = CHARACTERS
    seed: int = 2
    normaliser: list[dict[str, str]] = field(default_factory=list)

    @property
    def V(self) -> int:
        return len(self.characters)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """Those of the recurrence are small enough that rounding errors die out instead of growing."""
        rng = np.random.default_rng(self.seed)
        shapes = {"table": (self.V, self.H), "W_o": (self.H, self.V), "b_o": (self.V,)}
        for layer in range(self.L):
            shapes[f"W_h{layer}"] = (self.H, self.H)
            if layer > 0:  # the table is all that layer 0 needs
                shapes |= {f"W_e{layer}": (self.H, self.H), f"b{layer}": (self.H,)}
        scale = {"W_h": 0.7 / self.H**0.5, "W_e": 0.7 / self.H**0.5}
        return {
            name: (rng.normal(size=shape) * scale.get(name[:3], 1)).astype(np.float32) for name, shape in shapes.items()
        }

    def step(self, token: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """token [batch], state [L, batch, H] -> logits [batch, V], next state [L, batch, H]."""
        w = self.weights
        inputs, states = w["table"][token], []
        for layer in range(self.L):
            if layer > 0:
                inputs = states[-1] @ w[f"W_e{layer}"] + w[f"b{layer}"]
            states.append(np.tanh(state[layer] @ w[f"W_h{layer}"] + inputs))
        return states[-1] @ w["W_o"] + w["b_o"], np.stack(states)

    def greedy(self, prompt: str, length: int) -> str:
        """The prompt and the likeliest `length` characters after it."""
        text, state = prompt, np.zeros((self.L, 1, self.H), np.float32)
        for character in prompt:
            logits, state = self.step(np.array([self.characters.index(character)]), state)
        for _ in range(length):
            best = int(logits.argmax())
            text += self.characters[best]
            logits, state = self.step(np.array([best]), state)
        return text

    def metadata(self) -> dict[str, str]:
        return {
            "charrnn.format_version": "1",
            "charrnn.vocabulary": json.dumps(
                {"format": "charrnn.vocabulary", "version": 1, "characters": self.characters}
            ),
            "charrnn.normaliser": json.dumps(self.normaliser),
            "charrnn.model": json.dumps({"hidden_size": self.H, "num_layers": self.L, "vocabulary_size": self.V}),
            "charrnn.training": json.dumps({"corpus": "none", "test_loss_nats": 1.5}),
        }

    def proto(self) -> onnx.ModelProto:
        weights = {**self.weights, **{f"layer{i}": np.array(i, np.int64) for i in range(self.L)}}
        weights["axis0"] = np.array([0], np.int64)
        graph = helper.make_graph(
            self._nodes(),
            "step",
            [
                helper.make_tensor_value_info("token", INT64, ["batch"]),
                helper.make_tensor_value_info("state", FLOAT, [self.L, "batch", self.H]),
            ],
            [
                helper.make_tensor_value_info("logits", FLOAT, ["batch", self.V]),
                helper.make_tensor_value_info("next_state", FLOAT, [self.L, "batch", self.H]),
            ],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        return finish(graph, self.metadata())

    def _nodes(self) -> list[onnx.NodeProto]:
        node = helper.make_node
        nodes = [node("Gather", ["table", "token"], ["inputs0"])]
        for i in range(self.L):
            if i > 0:
                nodes += [
                    node("MatMul", [f"next_state/{i - 1}", f"W_e{i}"], [f"up{i}"]),
                    node("Add", [f"up{i}", f"b{i}"], [f"inputs{i}"]),
                ]
            nodes += [
                node("Gather", ["state", f"layer{i}"], [f"state/{i}"], axis=0),
                node("MatMul", [f"state/{i}", f"W_h{i}"], [f"recurrent{i}"]),
                node("Add", [f"recurrent{i}", f"inputs{i}"], [f"sum{i}"]),
                node("Tanh", [f"sum{i}"], [f"next_state/{i}"]),
                node("Unsqueeze", [f"next_state/{i}", "axis0"], [f"kept{i}"]),
            ]
        return [
            *nodes,
            node("Concat", [f"kept{i}" for i in range(self.L)], ["next_state"], axis=0),
            node("MatMul", [f"next_state/{self.L - 1}", "W_o"], ["scores"]),
            node("Add", ["scores", "b_o"], ["logits"]),
        ]

    def save(self, path: Path) -> Path:
        path.write_bytes(self.proto().SerializeToString())
        return path


def finish(graph: onnx.GraphProto, metadata: dict[str, str]) -> onnx.ModelProto:
    """A checked model of the pinned opset and IR version."""
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(proto, full_check=True)
    helper.set_model_props(proto, metadata)
    return proto


def two_states(V: int, H: int, metadata: dict[str, str]) -> onnx.ModelProto:
    """A model with a second kind of state, `cell`, of another width: it counts the characters read."""
    rng = np.random.default_rng(3)
    constants: dict[str, Any] = {
        "table": rng.normal(size=(V, H)).astype(np.float32),
        "W_o": rng.normal(size=(H, V)).astype(np.float32),
        "one": np.ones(1, np.float32),
        "axis0": np.array([0], np.int64),
    }
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Gather", ["table", "token"], ["h"]),
            node("Unsqueeze", ["h", "axis0"], ["read"]),
            node("Add", ["state", "read"], ["next_state"]),
            node("Add", ["cell", "one"], ["next_cell"]),
            node("MatMul", ["h", "W_o"], ["logits"]),
        ],
        "two",
        [
            helper.make_tensor_value_info("cell", FLOAT, [1, "batch", 2]),
            helper.make_tensor_value_info("token", INT64, ["batch"]),
            helper.make_tensor_value_info("state", FLOAT, [1, "batch", H]),
        ],
        [
            helper.make_tensor_value_info("next_state", FLOAT, [1, "batch", H]),
            helper.make_tensor_value_info("next_cell", FLOAT, [1, "batch", 2]),
            helper.make_tensor_value_info("logits", FLOAT, ["batch", V]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return finish(graph, metadata)
