"""Cells: what they compute, that their derivatives are right, and that everything else executes any of them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from charrnn.model import CharRNN, ModelConfig, measurement
from charrnn.model.backends import BACKENDS, choose
from charrnn.model.cells import CELLS, Cell
from charrnn.model.fused import any_cell, fused
from charrnn.model.measurement import measure
from charrnn.model.recurrence import Recurrence, in_autocast_dtype, reference
from tests.model.agreement import SIZES
from tests.toy_cell import Toy

T, B, H = 5, 3, 4
CELLS_AND_TOY = {**CELLS, "toy": Toy()}
every_cell = pytest.mark.parametrize("cell", CELLS_AND_TOY.values(), ids=CELLS_AND_TOY)
CPU = torch.device("cpu")


def problem(cell: Cell, dtype: torch.dtype = torch.float64, sizes: tuple[int, int, int] = (T, B, H)) -> list[Tensor]:
    """inputs, W_h, b_u (of a cell that has none: it is not used), the states."""
    T, B, H = sizes
    generator = torch.Generator().manual_seed(T)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    rows = cell.gates * H
    leaves = [normal(T, B, rows), normal(rows, H), normal(rows), *(normal(B, H) for _ in cell.states)]
    leaves[1].data *= H**-0.5  # else rounding errors grow from step to step
    return leaves


def everything(run: Recurrence, cell: Cell, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """The outputs and all states after the last step."""
    inputs, W_h, b_u, *states = leaves
    outputs, after = run(cell, inputs, tuple(states), W_h, b_u if cell.recurrent_bias else None)
    return outputs, *after


@every_cell
def test_its_backward_pass_is_the_derivative_of_its_forward_pass(cell: Cell) -> None:
    """By autograd, of one step, each state after it having a weight of its own."""
    generator = torch.Generator().manual_seed(0)
    x, u = (torch.randn(B, cell.gates * H, generator=generator, dtype=torch.float64, requires_grad=True) for _ in "xu")
    states = tuple(torch.randn(B, H, generator=generator, dtype=torch.float64, requires_grad=True) for _ in cell.states)
    after, kept = cell.forward(x, u, states)
    gradients = tuple(torch.randn(B, H, generator=generator, dtype=torch.float64) for _ in after)
    expected = torch.autograd.grad(after, (x, u, *states), gradients, allow_unused=True)
    with torch.no_grad():
        dx, du, before = cell.backward(gradients, kept, states)
    for ours, theirs in zip((dx, du, *before), expected, strict=True):
        torch.testing.assert_close(
            torch.zeros(()) if ours is None else ours, torch.zeros(()) if theirs is None else theirs
        )


@every_cell
@pytest.mark.parametrize("run", [reference, any_cell, fused], ids=lambda run: run.__name__)
def test_gradcheck(cell: Cell, run: Recurrence) -> None:
    leaves = problem(cell) if cell.recurrent_bias else [leaf for i, leaf in enumerate(problem(cell)) if i != 2]

    def call(*given: Tensor) -> tuple[Tensor, ...]:
        with_bias = [*given] if cell.recurrent_bias else [*given[:2], torch.zeros(0), *given[2:]]
        return everything(run, cell, with_bias)

    assert torch.autograd.gradcheck(call, leaves)


@every_cell
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 0.05)]
)
@pytest.mark.parametrize("sizes", [(T, B, H), *SIZES], ids=str)
def test_backpropagation_through_time_is_the_reference_s_gradient(
    cell: Cell, sizes: tuple[int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    results = []
    for run, of in ((any_cell, dtype), (reference, torch.float64)):
        leaves = [leaf.detach().to(dtype).to(of).requires_grad_() for leaf in problem(cell, sizes=sizes)]
        found = everything(run, cell, leaves)
        loss = sum((part * torch.linspace(-1, 1, part.numel()).to(of).view_as(part)).sum() for part in found)
        results.append([*(part.detach() for part in found), *torch.autograd.grad(loss, leaves, allow_unused=True)])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == dtype
            assert float((ours.double() - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


def test_which_gate_s_bias_goes_with_the_product() -> None:
    b_h = torch.arange(6.0, requires_grad=True)
    of_input, of_product = Toy().split_bias(b_h)
    assert of_product is not None
    assert of_input.tolist() == [0, 1, 0, 0, 4, 5]
    assert of_product.tolist() == [0, 0, 2, 3, 0, 0]
    (of_input * 2 + of_product).sum().backward()
    assert b_h.grad is not None
    assert b_h.grad.tolist() == [2, 2, 1, 1, 2, 2]
    assert CELLS["tanh"].split_bias(b_h) == (b_h, None)


def test_a_backend_without_the_cell_is_not_taken() -> None:
    toy = Toy()
    assert BACKENDS["native"].refusal(toy, CPU, torch.float32) == "it has no cell toy"
    assert choose("auto", toy, CPU, torch.float32) == "fused"
    found = measure(toy, T=6, B=3, H=8, device=CPU, dtype=torch.float32)
    assert (found.name, dict(found.passed_over)) == ("fused", {"native": "it has no cell toy"})


PEERS = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


@pytest.mark.parametrize("recurrence", ["reference", "fused"])
@pytest.mark.parametrize("cell", PEERS)
def test_it_is_torch_s_own_with_the_same_weights(cell: str, recurrence: str) -> None:
    """Two layers, float64: logits, states, and the gradients of every parameter and state."""
    V, E, L = 7, 3, 2
    sizes = {"vocabulary_size": V, "embedding_size": E, "hidden_size": H, "num_layers": L}
    model = CharRNN(ModelConfig(**sizes, cell=cell, recurrence=recurrence)).double()  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if name.startswith("b_"):
            nn.init.normal_(parameter)
    peer = PEERS[cell](E, H, L).double()
    pairs = {"W_e": "weight_ih", "W_h": "weight_hh", "b_e": "bias_ih", "b_h": "bias_hh"}
    named = [
        (model.parameter(ours, layer), peer.get_parameter(f"{theirs}_l{layer}"))
        for layer in range(L)
        for ours, theirs in pairs.items()
    ]
    for ours, theirs in named:
        theirs.data.copy_(ours)
    tokens = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(1))
    states = tuple(torch.randn(L, B, H, dtype=torch.float64, requires_grad=True) for _ in model.cell.states)
    logits, after = model(tokens, states)
    outputs, peer_after = peer(model.embedding(tokens.T), states if cell == "lstm" else states[0])
    expected = model.fc(outputs).transpose(0, 1)
    peer_after = peer_after if cell == "lstm" else (peer_after,)
    exact = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close((logits, *after), (expected, *peer_after), **exact)
    losses = [
        (each[0].square().sum() + sum((s * s).sum() for s in each[1]))
        for each in ((logits, after), (expected, peer_after))
    ]
    ours = torch.autograd.grad(losses[0], [*(pair[0] for pair in named), *states])
    theirs = torch.autograd.grad(losses[1], [*(pair[1] for pair in named), *states])
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("cell", PEERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_cudnn_s_calls_agree_with_the_reference(monkeypatch: pytest.MonkeyPatch, cell: str, dtype: torch.dtype) -> None:
    """On a CPU they are torch's own RNNs; whole layers, as a model runs them."""
    table = {"cudnn": replace(BACKENDS["cudnn"], device="", why_not=lambda *_: ""), "reference": BACKENDS["reference"]}
    monkeypatch.setattr(measurement, "BACKENDS", table)
    found = measure(CELLS[cell], T=6, B=3, H=8, device=CPU, dtype=dtype)
    assert not found.passed_over
    assert found.name == "cudnn"


@pytest.mark.parametrize("cell", PEERS)
def test_cudnn_s_recurrence_is_the_reference_s(cell: str) -> None:
    leaves = problem(CELLS[cell])
    ours, theirs = (everything(run, CELLS[cell], leaves) for run in (BACKENDS["cudnn"].run, reference))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_state_that_no_matrix_multiplies_keeps_its_precision() -> None:
    """An LSTM adds up 64 times 1/1024: in bfloat16, next to 1, each of them would be lost."""
    cell = CELLS["lstm"]
    inputs = torch.tensor([30.0, 30.0, 1 / 1024, 0.0]).expand(64, 1, 4).contiguous()
    for run in (reference, fused):
        with torch.autocast("cpu", torch.bfloat16):
            run = in_autocast_dtype(run)
            _, (_, c) = run(cell, inputs, (torch.zeros(1, 1), torch.ones(1, 1)), torch.zeros(4, 1), None)
        assert c.dtype == torch.float32
        assert float(c) == pytest.approx(1 + 64 / 1024, rel=1e-3)


def test_an_lstm_remembers_at_first() -> None:
    model = CharRNN(ModelConfig(vocabulary_size=5, hidden_size=H, cell="lstm", num_layers=2))
    for layer in range(2):
        assert model.parameter("b_e", layer).view(4, H).tolist() == [[0.0] * H, [1.0] * H, [0.0] * H, [0.0] * H]
        for gate in model.parameter("W_h", layer).view(4, H, H):
            torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)
    notebook = CharRNN(ModelConfig(vocabulary_size=5, hidden_size=H, cell="lstm", initialisation="notebook"))
    assert not notebook.parameter("b_e", 0).count_nonzero()
