"""The graph of a model file, one step, taken apart so that it can be the body of a Scan (`scan.py`).

A step reads one character of each text: token and state -> logits and next state. It begins by taking the state
[L, batch, H] apart into layers, [batch, H] each, and ends by stacking the new ones. The exporter names them: layer 0
of `state` is `state/0` before the step and `next_state/0` after it. Where a file has the names, layers are passed on
from step to step as they are. At H=128 that saves 0.6 of 4.5 us a character (tanh), 0.4 of 11 (gru), 1.4 of 10 (lstm),
and with three layers a quarter. In other files, such as those of charrnn 0.1.0, whole states are passed on.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from charrnn.runtime.protobuf import Field, read_fields

__all__ = ["FLOAT", "GRAPH", "GRAPH_NODES", "GRAPH_WEIGHTS", "INT64", "StateSizes", "StepGraph", "Tensor"]

StateSizes: TypeAlias = Mapping[str, tuple[int, int]]
"""Name of each kind of state -> (L, H)."""

# Types of elements and field numbers, from onnx.proto, which defines the format.
FLOAT, INT64 = 1, 7
_IR_VERSION, GRAPH, _OPSETS, _FUNCTIONS = 1, 7, 8, 25
GRAPH_NODES, GRAPH_WEIGHTS, _SPARSE_WEIGHTS = 1, 5, 15

_LARGE_BYTES = 200_000
"""Weights of at least this size stand outside the body. Of a weight in the body onnxruntime keeps two more copies; a
weight outside has to be handed to the body at each step, which takes 0.2 us."""


class Tensor(NamedTuple):
    """An input or output: its name, element type, and of each dimension the size, or the name where it is dynamic."""

    name: str
    kind: int
    dims: tuple[int | str, ...]


class _Node(NamedTuple):
    whole: memoryview
    inputs: list[str]
    outputs: list[str]


class StepGraph:
    """The graph of a model file, one step, in the pieces from which Scan models are built.

    All pieces but `states` and `next_states` are encoded protobuf fields, copied from the file as they are.
    """

    def __init__(self, model: bytes, sizes: StateSizes, V: int) -> None:
        """Take `model`, the content of a file, apart. Raises ModelFileError where it is not made of protobuf fields."""
        fields = list(read_fields(memoryview(model)))
        self.header = [field.whole for field in fields if field.number in (_IR_VERSION, _OPSETS, _FUNCTIONS)]
        graph = [part for field in fields if field.number == GRAPH for part in read_fields(field.content)]
        nodes = [_read_node(part) for part in graph if part.number == GRAPH_NODES]
        weights = [part for part in graph if part.number in (GRAPH_WEIGHTS, _SPARSE_WEIGHTS)]
        layers = [
            Tensor(f"{name}/{layer}", FLOAT, ("batch", H)) for name, (L, H) in sizes.items() for layer in range(L)
        ]
        values = {value for node in nodes for value in node.outputs}
        self.by_layer = all({layer.name, f"next_{layer.name}"} <= values for layer in layers)
        """Whether Scan passes the states on as their layers, [batch, H] each, or whole, [L, batch, H]."""
        whole = [Tensor(name, FLOAT, (L, "batch", H)) for name, (L, H) in sizes.items()]
        self.states = layers if self.by_layer else whole
        self.next_states = [state._replace(name=f"next_{state.name}") for state in self.states]
        if self.by_layer:
            nodes = _needed(nodes, {"logits", *(state.name for state in self.next_states)}, given=layers)
        outside = _large_weights(nodes, weights)
        self.body_fields = [node.whole for node in nodes]
        self.body_fields += [weight.whole for index, weight in enumerate(weights) if index not in outside]
        self.outer_weights = [weights[index].whole for index in outside]
        self.V = V


def _needed(nodes: list[_Node], wanted: set[str], given: Iterable[Tensor]) -> list[_Node]:
    """Those of `nodes`, each of which reads what earlier ones made, that it takes to make the `wanted` values.

    given: values that need not be made.
    """
    made, needed = {value.name for value in given}, list[_Node]()
    for node in reversed(nodes):
        if not (wanted - made).isdisjoint(node.outputs):
            wanted = wanted.union(node.inputs)
            needed.insert(0, node)
    return needed


def _large_weights(nodes: list[_Node], weights: list[Field]) -> list[int]:
    """Indices of the weights that are to stand outside the body.

    Weights that are cast or scaled before they are used stay inside, however large: there onnxruntime computes the
    result once, when it loads the model, and outside it would at each step.
    """
    names = [_weight_name(weight.content) for weight in weights]
    constant, folded = {"", *names}, set[str]()  # an empty name is an optional input that is left out
    for node in nodes:
        if constant.issuperset(node.inputs):
            constant.update(node.outputs)
            folded.update(node.inputs)
    return [
        index
        for index, weight in enumerate(weights)
        if len(weight.whole) >= _LARGE_BYTES and names[index] not in folded
    ]


def _read_node(field: Field) -> _Node:
    """Read a NodeProto: its field 1 is each input, 2 each output."""
    names: dict[int, list[str]] = {1: [], 2: []}
    for part in read_fields(field.content):
        if part.number in names:
            names[part.number].append(str(part.content, "utf-8", "replace"))
    return _Node(field.whole, names[1], names[2])


def _weight_name(message: memoryview) -> str:
    """The name of a TensorProto, empty where it has none. Raises ModelFileError where it is no protobuf message."""
    return next((str(field.content, "utf-8", "replace") for field in read_fields(message) if field.number == 8), "")
