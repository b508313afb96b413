"""Which graphs are taken apart by layer: those of the exporter's form, and no other."""

from collections.abc import Callable

import numpy as np
import pytest
from onnx import numpy_helper

from charrnn.runtime.layers import Layers, Node, find_layers, read_node, weight_name
from tests.runtime.handmade import HandMade

PROTO = HandMade(L=2).proto()
NODES = {node.output[0]: read_node(memoryview(node.SerializeToString())) for node in PROTO.graph.node}
WEIGHTS = {tensor.name: memoryview(tensor.SerializeToString()) for tensor in PROTO.graph.initializer}


def found(nodes: dict[str, Node] = NODES, weights: dict[str, memoryview] = WEIGHTS, L: int = 2) -> Layers | None:
    return find_layers(list(nodes.values()), list(weights.values()), {"state": (L, 7)})


def test_the_exporter_s_form() -> None:
    places = [list(NODES).index(name) for name in ("before0", "before1", "next_state", "kept0", "kept1")]
    assert found() == Layers(["before0", "before1"], ["h0", "h1"], set(places))


def reads(name: str) -> Node:
    return Node("Identity", [name], ["other"], 0)


@pytest.mark.parametrize(
    ("output", "change"),
    [
        ("before0", lambda node: node._replace(axis=1)),
        ("before0", lambda node: node._replace(operator="Add")),
        ("before0", lambda node: node._replace(operator="Scatter")),
        ("before0", lambda node: node._replace(inputs=["layer0", "state"])),
        ("before0", lambda node: node._replace(inputs=["state", "layer1"])),
        ("before0", lambda node: node._replace(inputs=["table", "layer0"])),
        ("other", lambda _: reads("state")),
        ("next_state", lambda node: node._replace(axis=1)),
        ("next_state", lambda node: node._replace(operator="Sum")),
        ("next_state", lambda node: node._replace(inputs=["kept0"])),
        ("next_state", lambda node: node._replace(outputs=["other"])),
        ("other", lambda _: reads("next_state")),
        ("kept0", lambda node: node._replace(operator="Add")),
        ("kept0", lambda node: node._replace(inputs=["h0", "layer1"])),
        ("kept0", lambda node: node._replace(inputs=["h0", "layer0"])),
        ("kept0", lambda node: node._replace(outputs=["other"])),
        ("kept0", lambda node: node._replace(inputs=["h1", "axis0"])),
        ("kept0", lambda node: node._replace(inputs=["W_o", "axis0"])),
        ("other", lambda _: reads("kept0")),
    ],
)
def test_another_form(output: str, change: Callable[[Node | None], Node]) -> None:
    assert found(NODES | {output: change(NODES.get(output))}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("layer0", np.int32(0)), ("layer0", np.array([0])), ("layer0", np.int64(2)), ("axis0", np.int64(0))],
)
def test_another_place(name: str, value: np.ndarray) -> None:
    tensor = numpy_helper.from_array(np.asarray(value), name)
    assert found(weights=WEIGHTS | {name: memoryview(tensor.SerializeToString())}) is None


@pytest.mark.parametrize("L", [1, 3])
def test_another_number_of_layers(L: int) -> None:
    assert found(L=L) is None


def test_a_list_that_begins_with_zeros_is_no_place() -> None:
    """Read as one number, two zeros are the place that `axis0` is."""
    tensor = numpy_helper.from_array(np.zeros(2, np.int64), "axis0")
    assert found(weights=WEIGHTS | {"axis0": memoryview(tensor.SerializeToString())}) is None


def test_a_weight_without_a_name_is_no_place() -> None:
    tensor = numpy_helper.from_array(np.int64(0))
    assert found(weights=WEIGHTS | {"": memoryview(tensor.SerializeToString())}) == found()


def test_names_of_weights() -> None:
    assert [weight_name(weight) for weight in WEIGHTS.values()] == list(WEIGHTS)
    assert weight_name(memoryview(numpy_helper.from_array(np.int64(0)).SerializeToString())) == ""
