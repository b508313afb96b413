"""The cells as a file has them: the same functions, in as few nodes as said, in every opset."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from charrnn.export import OPSETS, PARITY_TOLERANCE, SingleStep, export_onnx
from charrnn.export.file_cells import file_cell, input_parts
from charrnn.export.graph import trace
from charrnn.model import CharRNN, ModelConfig
from charrnn.model.cells import CELLS
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from tests.toy_cell import Toy

VOCABULARY = Vocabulary("\nabcdefghij")
E, H = 5, 13


def model_of(cell: str, L: int = 2) -> CharRNN:
    torch.manual_seed(3)
    config = ModelConfig(
        vocabulary_size=len(VOCABULARY),
        embedding_size=E,
        hidden_size=H,
        num_layers=L,
        cell=cell,
        recurrence="reference",
    )
    model = CharRNN(config).eval()
    for name, parameter in model.named_parameters():
        if name.startswith("b_"):
            torch.nn.init.normal_(parameter, std=0.3)  # zero biases would hide a missing one
    return model


@pytest.mark.parametrize("name", ["tanh", "gru", "lstm"])
def test_the_same_function(name: str) -> None:
    cell = CELLS[name]
    filed, order = file_cell(cell)
    assert sorted(order) == list(range(cell.gates))
    x, u = torch.randn(2, 7, cell.gates, H)
    states = tuple(torch.randn(7, H) for _ in cell.states)
    _, bias = cell.split_bias(torch.randn(cell.gates * H))
    expected, _ = cell.forward(x.flatten(1), u.flatten(1) + (0 if bias is None else bias), states)
    *added, rest = input_parts(filed, x[:, list(order)].flatten(1), bias)
    after, _ = filed.forward(rest, sum(added, start=u[:, list(order)].flatten(1)), states)
    for ours, theirs in zip(after, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)  # sums of order 1 in another order


def test_a_cell_without_another_form_is_traced_as_it_is() -> None:
    toy = Toy()
    assert file_cell(toy) == (toy, (0, 1, 2))


@pytest.mark.parametrize(("cell", "sigmoids", "nodes"), [("tanh", 0, 8), ("gru", 2, 17), ("lstm", 1, 18)])
def test_one_product_for_all_gates_and_few_nodes(cell: str, sigmoids: int, nodes: int) -> None:
    operators = [node.op_type for node in trace(SingleStep(model_of(cell, L=1))).graph.node]
    assert operators.count("MatMul") == 2, "and that of the logits"
    assert operators.count("Sigmoid") == sigmoids
    assert len(operators) == nodes


@pytest.mark.parametrize("opset", [OPSETS.start, OPSETS.stop - 1])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_every_cell_in_the_oldest_and_the_newest_opset(tmp_path: Path, cell: str, opset: int) -> None:
    model, path = model_of(cell), tmp_path / "model.onnx"
    written = {"vocabulary": VOCABULARY, "normaliser": Normaliser.named(), "training": {}}
    assert export_onnx(model, path, **written, opset=opset) <= PARITY_TOLERANCE
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    states = [torch.randn(2, 11, H) for _ in CELLS[cell].states]
    feeds = {name: state.numpy() for name, state in zip(CELLS[cell].states, states, strict=True)}
    logits = session.run(["logits"], {"token": np.arange(11), **feeds})[0]
    with torch.no_grad():
        expected, _ = model(torch.arange(11)[:, None], tuple(states))
    np.testing.assert_allclose(logits, expected[:, 0].numpy(), atol=2e-6, rtol=0)
