"""The weights of a step's graph in fewer bytes: the same inputs, outputs and arithmetic around them."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from charrnn.errors import RunError
from charrnn.export.blocks import FourBitMatrix

__all__ = ["STATE_STEPS", "Weights", "store"]

Weights: TypeAlias = Literal["float32", "float16", "int8", "int4"]
"""How a file keeps the weights. Whatever it is, inputs and outputs of the graph are float32."""

Arrays: TypeAlias = dict[str, npt.NDArray[np.float32]]
_SCORES = "W_o"
"""Never below 8 bits: its errors go straight into the scores. 4 bits there would double what int4 costs."""
_ACCURACY_LEVEL = 4  # of MatMulNBits: states are rounded to 8 bits, each row and block with a scale of its own
STATE_STEPS = 64
"""States, between -1 and 1, are multiplied by int8 as whole numbers of 1/64, plus 64. Processors without products of
bytes for neural networks (VNNI) add two of them in 16 bits, and 2 * 128 * 127 is what fits: 1/127 would be cut off."""


def store(proto: onnx.ModelProto, weights: Weights) -> Arrays:
    """Rewrite `proto`, a graph of `trace`, in place; returns the weights, by name, that it stands for afterwards.

    float16: all are kept as float16 and cast to float32. int8: the matrices are multiplied by MatMulInteger, a scale
    for each column. int4: by MatMulNBits (domain com.microsoft), but for the output matrix. Of both the table is kept
    as int8 with a scale for each row, and biases stay float32. A runtime that folds constants, as onnxruntime does,
    casts and scales once, when it loads the file. Raises RunError where float16 cannot hold a weight.
    """
    if weights == "float32":
        return {}
    if weights == "float16":
        return dict(_halve(proto.graph, tensor) for tensor in _floats(proto.graph))
    if weights == "int4":
        proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    restored = dict(_quantise(proto.graph, weights))
    step, zero = np.array(1 / STATE_STEPS, np.float32), np.array(STATE_STEPS, np.uint8)
    _add_initializers(proto.graph, {"state_step": step, "state_zero": zero})
    return restored


def _floats(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]


def _halve(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> tuple[str, npt.NDArray[np.float32]]:
    name, array = tensor.name, numpy_helper.to_array(tensor)
    largest = np.abs(array).max()
    if largest > np.finfo(np.float16).max:
        raise RunError(f"{name} has a weight of {largest:.3g} and float16 ends at 65504: export it as float32")
    half = array.astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(half, f"{name}_half"))
    graph.node.insert(0, helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    return name, half.astype(np.float32)


def _quantise(graph: onnx.GraphProto, weights: Weights) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    for tensor in _floats(graph):
        name, array = tensor.name, numpy_helper.to_array(tensor)
        node = next(node for node in graph.node if name in node.input)  # biases that are equal are one
        if node.op_type not in ("Gather", "MatMul"):
            continue
        graph.initializer.remove(tensor)
        if node.op_type == "Gather":
            yield name, _look_up_integers(graph, name, array)
        elif weights == "int4" and name != _SCORES:
            yield name, _multiply_by_blocks(graph, node, name, array)
        else:
            yield name, _multiply_integers(graph, node, name, array)


def _look_up_integers(graph: onnx.GraphProto, name: str, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """int8, each row with a scale of its own."""
    codes, scales = _integers(table, axis=1)
    _add_initializers(graph, {f"{name}_codes": codes, f"{name}_scales": scales})
    graph.node.insert(0, helper.make_node("Mul", [f"{name}_whole", f"{name}_scales"], [name]))
    graph.node.insert(0, helper.make_node("Cast", [f"{name}_codes"], [f"{name}_whole"], to=onnx.TensorProto.FLOAT))
    restored: npt.NDArray[np.float32] = codes.astype(np.float32) * scales
    return restored


def _multiply_integers(
    graph: onnx.GraphProto, node: onnx.NodeProto, name: str, matrix: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Make the MatMul `node` a product of whole numbers: states in uint8, `matrix` in int8, a scale for each column."""
    codes, (scales,) = _integers(matrix, axis=0)
    _add_initializers(graph, {f"{name}_codes": codes, f"{name}_scales": scales / np.float32(STATE_STEPS)})
    nodes = [
        helper.make_node("QuantizeLinear", [node.input[0], "state_step", "state_zero"], [f"{name}_states"]),
        helper.make_node("MatMulInteger", [f"{name}_states", f"{name}_codes", "state_zero"], [f"{name}_sums"]),
        helper.make_node("Cast", [f"{name}_sums"], [f"{name}_floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_floats", f"{name}_scales"], [*node.output]),
    ]
    place = list(graph.node).index(node)
    graph.node.remove(node)
    for each in reversed(nodes):
        graph.node.insert(place, each)
    restored: npt.NDArray[np.float32] = codes.astype(np.float32) * scales
    return restored


def _integers(array: npt.NDArray[np.float32], axis: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Codes from -127 to 127, and the scales, one for all that lies along `axis`, that they are multiplied by."""
    largest = np.abs(array).max(axis=axis, keepdims=True)
    scales = np.maximum(largest, np.finfo(np.float32).tiny) / np.float32(127)
    return np.rint(array / scales).astype(np.int8), scales


def _multiply_by_blocks(
    graph: onnx.GraphProto, node: onnx.NodeProto, name: str, matrix: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Make the MatMul `node` a MatMulNBits by `matrix` in 4 bits."""
    blocks = FourBitMatrix.of(matrix)
    _add_initializers(graph, {f"{name}_codes": blocks.packed(), f"{name}_scales": blocks.scales.reshape(-1)})
    node.CopyFrom(
        helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{name}_codes", f"{name}_scales"],
            [*node.output],
            name=node.name,
            domain="com.microsoft",
            K=blocks.K,
            N=len(blocks.codes),
            bits=4,
            block_size=blocks.block_size,
            accuracy_level=_ACCURACY_LEVEL,
        )
    )
    return blocks.matrix()


def _add_initializers(graph: onnx.GraphProto, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
