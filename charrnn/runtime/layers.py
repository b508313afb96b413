"""A state [L, batch, H] taken apart: which values of a step graph hold one layer of it, [batch, H].

An exported step begins by taking each layer out of its state and ends by stacking the layers again. Between two steps
of one call that is wasted: carrying the layers saves 0.4 us a character at L=1 and more above, of 4 at H=128.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from charrnn.runtime.protobuf import read_fields, read_varint

__all__ = ["Layers", "Node", "Sizes", "find_layers", "name_of_weight", "read_node"]

Sizes: TypeAlias = Mapping[str, tuple[int, int]]
"""Name of each kind of state -> (L, H)."""


Integers: TypeAlias = Mapping[str, tuple[int, int]]
"""Name of each weight that is one whole number -> the number, and how many dimensions of size 1 it has."""


class Layers(NamedTuple):
    """The values that are carried from step to step, in the order of states and layers."""

    before: list[str]
    """Each layer of each state, as it is read."""
    after: list[str]
    """The same after the step."""
    unneeded: set[int]
    """Places of the nodes that take states apart and put them together."""


class Node(NamedTuple):
    """What counts here of a NodeProto."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    axis: int


def find_layers(graph: list[Node], weights: list[memoryview], sizes: Sizes) -> Layers | None:
    """The layers of the states in a graph's nodes, given its TensorProtos; None where it has another form.

    Raises ModelFileError where they are no messages.
    """
    integers = dict(integer for weight in weights if (integer := _read_integer(weight)) is not None)
    layers = Layers([], [], set())
    for name, (L, _) in sizes.items():
        before = _taken_apart(graph, integers, name, L)
        after = _put_together(graph, integers, f"next_{name}", L)
        if before is None or after is None:
            return None
        layers.before.extend(before[0])
        layers.after.extend(after[0])
        layers.unneeded.update(before[1], after[1])
    computed = {output for node in graph for output in node.outputs} - {"logits"}
    distinct = len(set(layers.after)) == len(layers.after)  # onnxruntime writes a value that is put out twice wrongly
    return layers if distinct and computed.issuperset(layers.after) else None


def _taken_apart(graph: list[Node], integers: Integers, name: str, L: int) -> tuple[list[str], list[int]] | None:
    """The results of Gather(state, layer), one for each of L layers, where nothing else reads the state."""
    readers = {place: node for place, node in enumerate(graph) if name in node.inputs}
    layers: dict[tuple[int, int] | None, str] = {}
    for node in readers.values():
        if node.operator == "Gather" and node.inputs[0] == name and node.axis == 0:
            layers[integers.get(node.inputs[1])] = node.outputs[0]
    wanted = [(layer, 0) for layer in range(L)]
    if len(readers) != L or layers.keys() != set(wanted):
        return None
    return [layers[index] for index in wanted], list(readers)


def _put_together(graph: list[Node], integers: Integers, name: str, L: int) -> tuple[list[str], list[int]] | None:
    """The inputs of Unsqueeze(layer), or of each such in Concat, that make the next state, which nothing else reads."""
    made = {output: place for place, node in enumerate(graph) for output in node.outputs}
    read = [value for node in graph for value in node.inputs]
    rows, places = [name], []
    last = graph[made[name]] if name in made else None
    if last is not None and last.operator == "Concat" and last.axis == 0 and name not in read:
        rows, places = last.inputs, [made[name]]
    layers = []
    for row in rows:
        node = graph[made[row]] if row in made else None
        if node is None or node.operator != "Unsqueeze" or integers.get(node.inputs[-1]) != (0, 1):
            return None
        if read.count(row) != (0 if row == name else 1):
            return None
        layers.append(node.inputs[0])
        places.append(made[row])
    return (layers, places) if len(layers) == L else None


def read_node(message: memoryview) -> Node:
    """Read a NodeProto. Raises ModelFileError where it is no message."""
    texts: dict[int, list[str]] = {1: [], 2: [], 4: [""]}
    axis = 0
    for field in read_fields(message):
        if field.number in texts:
            texts[field.number].append(str(field.content, "utf-8", "replace"))
        elif field.number == 5:  # an AttributeProto: name 1, whole number 3
            attribute = {part.number: part.content for part in read_fields(field.content)}
            if bytes(attribute.get(1, b"")) == b"axis" and 3 in attribute:
                axis = read_varint(attribute[3])
    return Node(texts[4][-1], texts[1], texts[2], axis)


def _read_integer(message: memoryview) -> tuple[str, tuple[int, int]] | None:
    """An entry of Integers from a TensorProto: dimensions 1, type 2 (7 is int64), name 8, raw bytes 9."""
    fields = [field for field in read_fields(message) if field.number in (1, 2, 8, 9)]
    content = {field.number: field.content for field in fields}
    if len(content.get(9, b"")) != 8 or 8 not in content or bytes(content.get(2, b"")) != b"\7":
        return None
    rank = sum(field.number == 1 for field in fields)
    return str(content[8], "utf-8", "replace"), (int.from_bytes(content[9], "little", signed=True), rank)


def name_of_weight(message: memoryview) -> str:
    """The name of a TensorProto, or nothing. Raises ModelFileError where it is no message."""
    return next((str(field.content, "utf-8", "replace") for field in read_fields(message) if field.number == 8), "")
