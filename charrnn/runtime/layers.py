"""Which values in the graph of a model file hold one layer of a state, [batch, H].

The graph is one step of the model: it reads one character of each text. It begins by taking the state [L, batch, H],
what the model remembers of the texts before the step, apart into its layers (a Gather for each), and ends by stacking
the new layers to the next state (an Unsqueeze for each, and a Concat). Where many steps run in one call (`scan.py`),
the layers are passed on from step to step as they are. Leaving out the stacking and taking apart in between saves
0.4 of 4 us a character at H=128 with one layer, and more with more layers.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from charrnn.runtime.protobuf import read_fields, read_varint

__all__ = ["Layers", "Node", "StateSizes", "find_layers", "read_node", "weight_name"]

StateSizes: TypeAlias = Mapping[str, tuple[int, int]]
"""Name of each kind of state -> (L, H)."""

Integers: TypeAlias = Mapping[str, tuple[int, int]]
"""Name of each weight that is a single integer -> (the integer, the rank of the tensor: 0, or 1 for shape [1])."""


class Layers(NamedTuple):
    """The names of the values [batch, H] that can be passed from step to step instead of whole states.

    They are in the order of the states, and for each state in the order of its layers.
    """

    before: list[str]
    """Each layer as the step reads it."""
    after: list[str]
    """The same layer after the step."""
    unneeded: set[int]
    """Indices of the nodes that only take states apart or stack them."""


class Node(NamedTuple):
    """The parts of an ONNX NodeProto that matter here."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    axis: int
    """The attribute of that name, 0 where the node has none."""


def find_layers(graph: list[Node], weights: list[memoryview], sizes: StateSizes) -> Layers | None:
    """Find the layers of all states; None where the graph does not take them apart and stack them as described above.

    weights: the graph's TensorProtos, encoded.
    Raises ModelFileError where a weight is no protobuf message.
    """
    integers = dict(integer for weight in weights if (integer := _read_integer(weight)) is not None)
    layers = Layers([], [], set())
    for name, (L, _) in sizes.items():
        before = _find_gathers(graph, integers, name, L)
        after = _find_stack(graph, integers, f"next_{name}", L)
        if before is None or after is None:
            return None
        layers.before.extend(before[0])
        layers.after.extend(after[0])
        layers.unneeded.update(before[1], after[1])
    computed = {output for node in graph for output in node.outputs} - {"logits"}
    # onnxruntime computes wrong results where a Scan has the same value as two of its outputs.
    distinct = len(set(layers.after)) == len(layers.after)
    return layers if distinct and computed.issuperset(layers.after) else None


def _find_gathers(graph: list[Node], integers: Integers, name: str, L: int) -> tuple[list[str], list[int]] | None:
    """The layers that L nodes Gather(state, layer number) take out of the state `name`, and the indices of these nodes.

    None where a layer is not taken out so, or anything else reads the state.
    """
    readers = {index: node for index, node in enumerate(graph) if name in node.inputs}
    layers: dict[tuple[int, int] | None, str] = {}
    for node in readers.values():
        if node.operator == "Gather" and node.inputs[0] == name and node.axis == 0:
            layers[integers.get(node.inputs[1])] = node.outputs[0]
    wanted = [(layer, 0) for layer in range(L)]
    if len(readers) != L or layers.keys() != set(wanted):
        return None
    return [layers[layer] for layer in wanted], list(readers)


def _find_stack(graph: list[Node], integers: Integers, name: str, L: int) -> tuple[list[str], list[int]] | None:
    """The L layers [batch, H] that are stacked to the next state `name`, and the indices of the nodes that stack them.

    The state is Concat(Unsqueeze(layer), ...) along axis 0, or with one layer the Unsqueeze alone.
    None where it is made in another way, or anything else reads it or what it is made of.
    """
    producer = {output: index for index, node in enumerate(graph) for output in node.outputs}
    read = [value for node in graph for value in node.inputs]
    rows, indices = [name], []  # rows: the values [1, batch, H] that are stacked
    last = graph[producer[name]] if name in producer else None
    if last is not None and last.operator == "Concat" and last.axis == 0 and name not in read:
        rows, indices = last.inputs, [producer[name]]
    layers = []
    for row in rows:
        node = graph[producer[row]] if row in producer else None
        if node is None or node.operator != "Unsqueeze" or integers.get(node.inputs[-1]) != (0, 1):
            return None
        if read.count(row) != (0 if row == name else 1):
            return None
        layers.append(node.inputs[0])
        indices.append(producer[row])
    return (layers, indices) if len(layers) == L else None


def read_node(message: memoryview) -> Node:
    """Decode a NodeProto. Raises ModelFileError where it is no protobuf message."""
    texts: dict[int, list[str]] = {1: [], 2: [], 4: [""]}  # by field number: inputs, outputs, operator
    axis = 0
    for field in read_fields(message):
        if field.number in texts:
            texts[field.number].append(str(field.content, "utf-8", "replace"))
        elif field.number == 5:  # an AttributeProto, whose field 1 is its name and 3 its integer
            attribute = {part.number: part.content for part in read_fields(field.content)}
            if bytes(attribute.get(1, b"")) == b"axis" and 3 in attribute:
                axis = read_varint(attribute[3])
    return Node(texts[4][-1], texts[1], texts[2], axis)


def _read_integer(message: memoryview) -> tuple[str, tuple[int, int]] | None:
    """An entry of `Integers` where the TensorProto `message` is one int64 number, else None.

    Field numbers: 1 each dimension, 2 the type (7 is int64), 8 the name, 9 the raw bytes.
    """
    fields = [field for field in read_fields(message) if field.number in (1, 2, 8, 9)]
    content = {field.number: field.content for field in fields}
    if len(content.get(9, b"")) != 8 or 8 not in content or bytes(content.get(2, b"")) != b"\7":
        return None
    rank = sum(field.number == 1 for field in fields)
    return str(content[8], "utf-8", "replace"), (int.from_bytes(content[9], "little", signed=True), rank)


def weight_name(message: memoryview) -> str:
    """The name of a TensorProto, empty where it has none. Raises ModelFileError where it is no protobuf message."""
    return next((str(field.content, "utf-8", "replace") for field in read_fields(message) if field.number == 8), "")
