"""The names by which the sampler finds the layers of a state in a file."""

import pytest
import torch
from torch import Tensor

from charrnn.export import SingleStep
from charrnn.export.graph import trace
from charrnn.model import CharRNN, ModelConfig
from charrnn.model.cells import CELLS, Kept, States, Tanh
from charrnn.runtime.step_graph import StepGraph

V, H = 11, 7


class Doubled(Tanh):
    """Remembers the same twice."""

    states = ("state", "copy")

    def forward(self, x: Tensor, u: Tensor, states: States) -> tuple[States, Kept]:
        h = torch.tanh(x + u)
        return (h, h), ()


def by_layer(cell: str, L: int) -> bool:
    proto = trace(SingleStep(CharRNN(ModelConfig(vocabulary_size=V, hidden_size=H, num_layers=L, cell=cell))))
    return StepGraph(proto.SerializeToString(), dict.fromkeys(CELLS[cell].states, (L, H)), V).by_layer


@pytest.mark.parametrize("L", [1, 2])
@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
def test_every_layer_has_its_names(cell: str, L: int) -> None:
    assert by_layer(cell, L)


def test_a_layer_of_two_states_has_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime computes wrong results where a Scan has the same value as two of its outputs."""
    monkeypatch.setitem(CELLS, "doubled", Doubled())
    assert not by_layer("doubled", 1)
