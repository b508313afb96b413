"""Cells: what they compute, that their derivatives are right, and that everything else executes any of them."""

import copy
from collections.abc import Sequence
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
from tests.model.native_cpus import NATIVE
from tests.toy_cell import Toy

T, B, H = 5, 3, 4
CELLS_AND_TOY = {**CELLS, "toy": Toy()}
every_cell = pytest.mark.parametrize("cell", CELLS_AND_TOY.values(), ids=CELLS_AND_TOY)
CPU = torch.device("cpu")


def problem(cell: Cell, dtype: torch.dtype = torch.float64, sizes: tuple[int, int, int] = (T, B, H)) -> list[Tensor]:
    """inputs, W_h, b_h, the states; numbers that every dtype has, under which differences neither grow nor die out."""
    T, B, H = sizes
    generator = torch.Generator().manual_seed(T * 100 + B * 10 + H)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        numbers = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return numbers.bfloat16().to(dtype).requires_grad_()

    rows = cell.gates * H
    states = (normal(B, H) for _ in cell.states)
    return [normal(T, B, rows), normal(rows, H, scale=H**-0.5), normal(rows), *states]


def everything(run: Recurrence, cell: Cell, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs and all states after the last step. The inputs' memory is the run's to use."""
    inputs, W_h, b_h, *states = leaves
    outputs, after = run(cell, inputs.clone(), tuple(states), W_h, cell.split_bias(b_h)[1])
    return outputs, *after


def run_of(execution: str, dtype: torch.dtype) -> Recurrence:
    """`any_cell` of fused.py, or a backend; where this machine has no compiler, the test is skipped."""
    if execution == "any_cell":
        return any_cell
    entry = BACKENDS["native" if execution in NATIVE else execution]
    if reason := entry.why_not(CPU, dtype):
        pytest.skip(f"install: a C++ compiler ({execution}: {reason})")
    return entry.run


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
    leaves = problem(cell)
    if not cell.recurrent_bias:
        leaves[2].requires_grad_(False)
    assert torch.autograd.gradcheck(lambda *leaves: everything(run, cell, leaves), leaves)


# All different, so that no transpose can pass; around the tiles of `native`; rows enough to share out a sum over them.
SIZES = [(T, B, H), (1, 1, 1), (7, 1, 4), (33, 5, 17), (3, 19, 45), (4, 37, 33), (2, 16, 64), (5, 80, 6)]
EXACT = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 0.05}
"""How far an execution may be from the reference in float64, relative to the largest number."""


@every_cell
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("execution", ["any_cell", *NATIVE])
def test_it_is_the_reference_s_values_and_gradients(
    cell: Cell, execution: str, dtype: torch.dtype, sizes: tuple[int, int, int]
) -> None:
    if execution in NATIVE and (isinstance(cell, Toy) or dtype == torch.float64):
        assert not isinstance(cell, BACKENDS["native"].cells) or BACKENDS["native"].why_not(CPU, dtype)
        return
    results = []
    for run, of in ((run_of(execution, dtype), dtype), (reference, torch.float64)):
        leaves = problem(cell, of, sizes)
        found = everything(run, cell, leaves)
        loss = sum((part * torch.linspace(-1, 1, part.numel()).bfloat16().to(of).view_as(part)).sum() for part in found)
        results.append([*(part.detach() for part in found), *torch.autograd.grad(loss, leaves, allow_unused=True)])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == dtype
            assert float((ours.double() - theirs).abs().max()) <= EXACT[dtype] * max(1.0, float(theirs.abs().max()))


@every_cell
@pytest.mark.parametrize("threads", [1, 3])
def test_a_lookup_is_the_recurrence_on_the_rows_of_a_table(
    monkeypatch: pytest.MonkeyPatch, cell: Cell, threads: int
) -> None:
    """Rows that are named often, once and never; an execution that has no lookup of its own does the same."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    H = 200  # enough to share out
    tokens = torch.tensor([[2, 0, 2], [2, 4, 0]])
    _, W_h, b_h, *states = problem(cell, torch.float32, (*tokens.shape, H))
    table = torch.randn(6, cell.gates * H, generator=torch.Generator().manual_seed(2)).requires_grad_()
    leaves = [table, W_h, *states]
    results = []
    for name in ("native", "fused", "reference"):
        if BACKENDS[name].refusal(cell, CPU, torch.float32):
            continue
        outputs, after = BACKENDS[name].run_lookup(cell, table, tokens, tuple(states), W_h, cell.split_bias(b_h)[1])
        total = outputs.square().sum() + sum(state.square().sum() for state in after)
        results.append([outputs, *after, *torch.autograd.grad(total, leaves)])
    for ours in results[:-1]:
        torch.testing.assert_close(ours, results[-1], rtol=1e-5, atol=1e-5)
    assert len(results) > 1


@pytest.mark.parametrize("tokens", [[[0, 6]], [[-1, 0]]])
def test_a_lookup_beyond_the_table_is_an_error(tokens: list[list[int]]) -> None:
    """Not a read of memory that belongs to something else."""
    cell = CELLS["tanh"]
    for name in ("native", "fused"):
        if not BACKENDS[name].why_not(CPU, torch.float32):
            with pytest.raises(IndexError):
                BACKENDS[name].run_lookup(
                    cell, torch.zeros(6, 4), torch.tensor(tokens), (torch.zeros(2, 4),), torch.eye(4), None
                )


@pytest.mark.parametrize("cell", CELLS)
def test_native_says_that_it_is_differentiable_once(cell: str) -> None:
    leaves = problem(CELLS[cell], torch.float32)
    outputs, *_ = everything(run_of("native", torch.float32), CELLS[cell], leaves)
    torch.autograd.grad(outputs.sum(), leaves[1], retain_graph=True)
    with pytest.raises(RuntimeError, match="native computes its gradients once"):
        torch.autograd.grad(outputs.sum(), leaves[1])


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


@pytest.mark.parametrize(
    ("recurrence", "dtype", "tolerance"),
    [
        ("reference", torch.float64, 1e-12),
        ("fused", torch.float64, 1e-12),
        ("fused", torch.float32, 2e-6),
        ("native", torch.float32, 2e-6),
    ],
)
@pytest.mark.parametrize("cell", PEERS)
def test_it_is_torch_s_own_with_the_same_weights(
    cell: str, recurrence: str, dtype: torch.dtype, tolerance: float
) -> None:
    """Two layers: logits, states, and the gradients of every parameter and state."""
    V, E, L = 7, 3, 2
    sizes = {"vocabulary_size": V, "embedding_size": E, "hidden_size": H, "num_layers": L}
    model = CharRNN(ModelConfig(**sizes, cell=cell, recurrence=recurrence)).to(dtype)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if name.startswith("b_"):
            nn.init.normal_(parameter)
    peer = PEERS[cell](E, H, L).double()  # exact, beside ours
    pairs = {"W_e": "weight_ih", "W_h": "weight_hh", "b_e": "bias_ih", "b_h": "bias_hh"}
    named = [
        (model.parameter(ours, layer), peer.get_parameter(f"{theirs}_l{layer}"))
        for layer in range(L)
        for ours, theirs in pairs.items()
    ]
    for ours, theirs in named:
        theirs.data.copy_(ours)
    wide = copy.deepcopy(model).double()
    tokens = torch.randint(V, (B, T), generator=torch.Generator().manual_seed(1))
    states = tuple(torch.randn(L, B, H).to(dtype).requires_grad_() for _ in model.cell.states)
    wide_states = tuple(state.detach().double().requires_grad_() for state in states)
    logits, after = model(tokens, states)
    outputs, peer_after = peer(wide.embedding(tokens.T), wide_states if cell == "lstm" else wide_states[0])
    expected = wide.fc(outputs).transpose(0, 1), *(peer_after if cell == "lstm" else (peer_after,))
    results = []
    for found, leaves in (
        ((logits, *after), [*(ours for ours, _ in named), *states]),
        (expected, [*(theirs for _, theirs in named), *wide_states]),
    ):
        loss = found[0].square().sum() + sum((state * state).sum() for state in found[1:])
        results.append([*(part.detach() for part in found), *torch.autograd.grad(loss, leaves)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == dtype
        assert float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


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
    for run in (reference, fused, run_of("native", torch.bfloat16)):
        with torch.autocast("cpu", torch.bfloat16):
            run = in_autocast_dtype(run)
            _, (_, c) = run(cell, inputs.clone(), (torch.zeros(1, 1), torch.ones(1, 1)), torch.zeros(4, 1), None)
        assert c.dtype == torch.float32
        assert float(c) == pytest.approx(1 + 64 / 1024, rel=1e-3)


def test_each_gate_of_an_lstm_starts_orthogonal_and_half_open() -> None:
    model = CharRNN(ModelConfig(vocabulary_size=5, hidden_size=H, cell="lstm", num_layers=2))
    for layer in range(2):
        assert not model.parameter("b_e", layer).count_nonzero()
        for gate in model.parameter("W_h", layer).view(4, H, H):
            torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)
