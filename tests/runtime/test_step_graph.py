"""Which graphs are passed on layer by layer: those whose layers have the exporter's names."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from charrnn.runtime.step_graph import StepGraph
from tests.runtime.handmade import HandMade, two_states

SIZES = {"state": (2, 7)}


def taken_apart(proto: onnx.ModelProto, sizes: dict[str, tuple[int, int]] = SIZES) -> tuple[StepGraph, list[str]]:
    """The graph in pieces, and the outputs of the nodes that are left of it."""
    step = StepGraph(proto.SerializeToString(), sizes, 5)
    body = onnx.GraphProto.FromString(b"".join(step.body_fields))
    return step, [name for node in body.node for name in node.output]


def test_layers_that_have_names_are_passed_on() -> None:
    proto = HandMade(L=2).proto()
    step, left = taken_apart(proto)
    assert step.by_layer
    assert [(state.name, state.dims) for state in step.states] == [
        ("state/0", ("batch", 7)),
        ("state/1", ("batch", 7)),
    ]
    assert [state.name for state in step.next_states] == ["next_state/0", "next_state/1"]
    every = [name for node in proto.graph.node for name in node.output]
    assert left == [name for name in every if name not in ("state/0", "state/1", "kept0", "kept1", "next_state")]


def test_all_kinds_of_states_or_none() -> None:
    proto = HandMade(L=2).proto()
    step, left = taken_apart(proto, SIZES | {"cell": (1, 3)})
    assert not step.by_layer
    assert [state.name for state in step.states] == ["state", "cell"]
    assert len(left) == len(proto.graph.node), "whole states need every node"


def test_states_without_names_are_passed_on_whole() -> None:
    proto = two_states(5, 4, HandMade().metadata())
    step, left = taken_apart(proto, {"cell": (1, 2), "state": (1, 4)})
    assert not step.by_layer
    assert [(state.name, state.dims) for state in step.states] == [
        ("cell", (1, "batch", 2)),
        ("state", (1, "batch", 4)),
    ]
    assert [state.name for state in step.next_states] == ["next_cell", "next_state"]
    assert left == [name for node in proto.graph.node for name in node.output]


def renamed(proto: onnx.ModelProto, old: str, new: str) -> None:
    for node in proto.graph.node:
        for values in (node.input, node.output):
            values[:] = [new if value == old else value for value in values]


@pytest.mark.parametrize("name", ["state/0", "state/1", "next_state/0", "next_state/1"])
def test_one_name_that_is_missing(name: str) -> None:
    proto = HandMade(L=2).proto()
    renamed(proto, name, "other")
    step, left = taken_apart(proto)
    assert not step.by_layer
    assert len(left) == len(proto.graph.node)


def test_another_number_of_layers() -> None:
    assert not taken_apart(HandMade(L=2).proto(), {"state": (3, 7)})[0].by_layer


def test_nodes_that_only_others_need_are_left_out() -> None:
    proto = HandMade(L=2).proto()
    proto.graph.node.append(helper.make_node("Identity", ["state"], ["other"]))
    assert "other" not in taken_apart(proto)[1]


def test_weights_without_a_name_and_large_ones() -> None:
    proto = HandMade(L=2).proto()
    proto.graph.initializer.append(numpy_helper.from_array(np.int64(0)))
    (W_o,) = (tensor for tensor in proto.graph.initializer if tensor.name == "W_o")
    W_o.CopyFrom(numpy_helper.from_array(np.zeros((7, 8000), np.float32), "W_o"))
    step, _ = taken_apart(proto)
    (outer,) = onnx.GraphProto.FromString(b"".join(step.outer_weights)).initializer
    assert outer.name == "W_o"
    body = onnx.GraphProto.FromString(b"".join(step.body_fields))
    assert len(body.initializer) == len(proto.graph.initializer) - 1
