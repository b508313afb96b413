"""Quantised matrices: near to what they stand for, and packed as onnxruntime reads them."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from charrnn.export.blocks import FourBitMatrix

SHAPES = [(1, 3), (13, 7), (16, 2), (40, 9), (128, 5), (200, 11), (300, 1)]


def matrix_of(K: int, N: int) -> np.ndarray:
    return np.random.default_rng(K).normal(size=(K, N)).astype(np.float32)


@pytest.mark.parametrize(("K", "N"), SHAPES)
def test_every_weight_is_the_nearest_that_its_scale_allows(K: int, N: int) -> None:
    matrix = matrix_of(K, N)
    quantised = FourBitMatrix.of(matrix)
    scale = np.abs(quantised.scales).repeat(quantised.block_size, axis=1)[:, :K].T
    inside = np.abs(matrix) < scale * 7
    error = np.abs(quantised.matrix() - matrix)
    assert (error[inside] <= scale[inside] * 0.5001).all()  # half a step, and float32's rounding
    assert inside.mean() > 0.5 or K == 1  # the largest weight of a block has the last code
    # Beyond the last code lies at most what the smallest scale leaves: 0.3 of the largest weight.
    assert (error <= np.abs(matrix).max(axis=0) * 0.3 + scale).all()


@pytest.mark.parametrize(("K", "N"), SHAPES)
def test_onnxruntime_multiplies_by_the_matrix(K: int, N: int) -> None:
    """With float32 activations (accuracy level 1): only the weights are quantised, so rows of 0 and 1 show them."""
    quantised = FourBitMatrix.of(matrix_of(K, N))
    packed = quantised.packed()
    blocks = -(-K // quantised.block_size)
    assert packed.shape == (N, blocks, quantised.block_size // 2)
    attributes = {"K": K, "N": N, "bits": 4, "block_size": quantised.block_size, "accuracy_level": 1}
    node = helper.make_node("MatMulNBits", ["a", "codes", "scales"], ["y"], domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", K])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", N])],
        [numpy_helper.from_array(packed, "codes"), numpy_helper.from_array(quantised.scales.reshape(-1), "scales")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"a": np.eye(K, dtype=np.float32)})
    np.testing.assert_allclose(product, quantised.matrix(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("K", "size"), [(1, 16), (16, 16), (17, 32), (999, 32)])
def test_block_sizes(K: int, size: int) -> None:
    assert FourBitMatrix.of(matrix_of(K, 3)).block_size == size


def test_a_matrix_of_zeros() -> None:
    quantised = FourBitMatrix.of(np.zeros((20, 3), np.float32))
    assert not quantised.matrix().any()
    assert np.isfinite(quantised.scales).all()


def test_a_scale_of_its_own_choice_is_nearer_than_the_largest_weights() -> None:
    """The search pays: of squared error on normal weights 0.91 is left, as measured."""
    matrix = matrix_of(512, 64)
    error = float(((FourBitMatrix.of(matrix).matrix() - matrix) ** 2).mean())
    blocks = matrix.T.reshape(64, -1, 32)
    largest = blocks[np.arange(64)[:, None], np.arange(16), np.abs(blocks).argmax(axis=-1)]
    steps = (-largest / 8)[..., None]
    plain = float(((np.clip(np.rint(blocks / steps), -8, 7) * steps - blocks) ** 2).mean())
    assert error < 0.95 * plain
