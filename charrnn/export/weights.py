"""The weights of a step's graph in fewer bytes: the same inputs, outputs and arithmetic around them."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from charrnn.errors import RunError
from charrnn.export.blocks import QuantisedMatrix

__all__ = ["Weights", "store"]

Weights: TypeAlias = Literal["float32", "float16", "int8", "int4"]
"""How a file keeps the weights. Whatever it is, inputs and outputs of the graph are float32."""

Arrays: TypeAlias = dict[str, npt.NDArray[np.float32]]
_BITS = {"int8": 8, "int4": 4}
_SCORES = "W_o"
"""Never below 8 bits: its errors go straight into the scores. 4 bits there would double what int4 costs."""
_ACCURACY_LEVEL = 4  # activations are rounded to 8 bits, each row and block with a scale of its own


def store(proto: onnx.ModelProto, weights: Weights) -> Arrays:
    """Rewrite `proto`, a graph of `trace`, in place; returns the weights, by name, that it stands for afterwards.

    float16: all are kept as float16 and cast to float32. int8, int4: the matrices are multiplied by MatMulNBits
    (domain com.microsoft), the table is kept as int8 with a scale for each row; biases stay float32. A runtime that
    folds constants, as onnxruntime does, casts and scales once, when it loads the file.
    Raises RunError where float16 cannot hold a weight.
    """
    if weights == "float32":
        return {}
    if weights == "float16":
        return dict(_halve(proto.graph, tensor) for tensor in _floats(proto.graph))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return dict(_quantise(proto.graph, _BITS[weights]))


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


def _quantise(graph: onnx.GraphProto, bits: int) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    for tensor in _floats(graph):
        name, array = tensor.name, numpy_helper.to_array(tensor)
        (node,) = (node for node in graph.node if name in node.input)
        if node.op_type == "Gather":
            graph.initializer.remove(tensor)
            yield name, _quantise_table(graph, name, array)
        elif node.op_type == "MatMul":
            graph.initializer.remove(tensor)
            matrix = QuantisedMatrix.of(array, 8 if name == _SCORES else bits)
            _multiply_by_blocks(graph, node, name, matrix)
            yield name, matrix.matrix()


def _quantise_table(graph: onnx.GraphProto, name: str, table: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """int8, each row with a scale of its own, behind operators of plain ONNX."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / np.float32(127)
    codes = np.rint(table / scales).astype(np.int8)
    _add_initializers(graph, {f"{name}_codes": codes, f"{name}_scales": scales})
    graph.node.insert(0, helper.make_node("Mul", [f"{name}_whole", f"{name}_scales"], [name]))
    graph.node.insert(0, helper.make_node("Cast", [f"{name}_codes"], [f"{name}_whole"], to=onnx.TensorProto.FLOAT))
    restored: npt.NDArray[np.float32] = codes.astype(np.float32) * scales
    return restored


def _multiply_by_blocks(graph: onnx.GraphProto, node: onnx.NodeProto, name: str, matrix: QuantisedMatrix) -> None:
    """Make the MatMul `node` by `name` a MatMulNBits by `matrix`."""
    _add_initializers(graph, {f"{name}_codes": matrix.packed(), f"{name}_scales": matrix.scales.reshape(-1)})
    node.CopyFrom(
        helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{name}_codes", f"{name}_scales"],
            [*node.output],
            name=node.name,
            domain="com.microsoft",
            K=matrix.K,
            N=len(matrix.codes),
            bits=matrix.bits,
            block_size=matrix.block_size,
            accuracy_level=_ACCURACY_LEVEL,
        )
    )


def _add_initializers(graph: onnx.GraphProto, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
