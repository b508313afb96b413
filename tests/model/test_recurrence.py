"""Every execution of the recurrence is the reference's function: values, gradients, odd sizes."""

import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from charrnn.model.backends import BACKENDS
from tests.model.agreement import TanhRun, of_tanh, reference
from tests.model.native_cpus import NATIVE

CPU = torch.device("cpu")
# `cudnn` on a CPU is torch's own RNN, by the same call. All others that are not for CPUs: test_gpu.py.
EXECUTIONS = [
    name
    for name, entry in BACKENDS.items()
    if name not in ("reference", "native") and (name == "cudnn" or entry.device in ("", "cpu"))
]
EXECUTIONS += NATIVE
SIZES = [(1, 1, 1), (1, 3, 5), (7, 1, 4), (6, 3, 5), (33, 5, 17)]  # T, B, H: all different, so no transpose can pass
SIZES += [
    (3, 19, 45),
    (4, 37, 33),
    (2, 16, 64),
    (5, 8, 70),
]  # around the tiles of `native`: 8, 6 or 16 rows, 32, 16 or 8 columns
SIZES += [(5, 80, 6)]  # rows enough for `native` to share out the sum over them among threads
# To each other, relative to the largest: float64 and float32 differ by the order of sums over up to 33 steps; bfloat16
# has 8 bits, and rounds every state to them.
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 0.03}
PAIRS = [
    (execution, dtype)
    for execution in EXECUTIONS
    for dtype in TOLERANCES
    if dtype != torch.float64 or execution not in NATIVE
]


def run_of(execution: str, dtype: torch.dtype) -> TanhRun:
    """The backend's function; where this machine lacks what it needs (a compiler), the test is skipped."""
    entry = BACKENDS["native" if execution in NATIVE else execution]
    reason = entry.why_not(CPU, dtype) if entry.device in ("", "cpu") else ""
    if reason:
        pytest.skip(f"install: a C++ compiler ({execution}: {reason})")
    return of_tanh(entry.run)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def problem(T: int, B: int, H: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, state and a W_h under which differences neither grow nor die out; the same numbers in every dtype."""
    generator = torch.Generator().manual_seed(T * 100 + B * 10 + H)

    def make(*shape: int, scale: float = 1.0) -> Tensor:
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return values.bfloat16().to(dtype).requires_grad_()

    return make(T, B, H), make(B, H), make(H, H, scale=H**-0.5)


def results(run: TanhRun, arguments: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Outputs and gradients, for a loss that sees every output with a weight of its own."""
    outputs = run(*arguments)
    weights = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).bfloat16().to(outputs.dtype)
    gradients = torch.autograd.grad((outputs * weights.view_as(outputs)).sum(), arguments)
    return dict(zip(("outputs", "inputs", "state", "W_h"), (outputs, *gradients), strict=True))


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], dtype: torch.dtype) -> None:
    for what, expected in theirs.items():
        assert ours[what].dtype == dtype, what
        difference = (ours[what].double() - expected.double()).abs().max().item()
        assert difference <= TOLERANCES[dtype] * max(1.0, expected.abs().max().item()), what


@pytest.mark.parametrize(("execution", "dtype"), PAIRS, ids=str)
def test_tanh_is_as_exact_as_the_dtype(execution: str, dtype: torch.dtype) -> None:
    inputs = torch.linspace(-12, 12, 1000).to(dtype).view(1, 4, 250)
    outputs = run_of(execution, dtype)(inputs, inputs.new_zeros(4, 250), inputs.new_zeros(250, 250))
    # bfloat16: the rounding of the result; the others: of a few operations.
    relative = 1.1 * 2**-8 if dtype == torch.bfloat16 else 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(outputs.double(), inputs.double().tanh(), rtol=relative, atol=0)


@pytest.mark.parametrize(("execution", "dtype"), PAIRS, ids=str)
@pytest.mark.parametrize(("T", "B", "H"), SIZES)
def test_values_and_gradients_are_the_reference_s(
    execution: str, dtype: torch.dtype, T: int, B: int, H: int, threads: int
) -> None:
    run = run_of(execution, dtype)
    assert_same(results(run, problem(T, B, H, dtype)), results(reference, problem(T, B, H)), dtype)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_arguments_need_not_be_contiguous(execution: str) -> None:
    run = run_of(execution, torch.float32)

    def strided(dtype: torch.dtype) -> tuple[Tensor, ...]:
        inputs, state, W_h = (value.detach() for value in problem(4, 6, 9, dtype))
        views = inputs.transpose(0, 1).contiguous().transpose(0, 1), state[:, :1].expand(6, 9), W_h.T
        assert not any(view.is_contiguous() for view in views)
        return tuple(view.requires_grad_() for view in views)

    assert_same(results(run, strided(torch.float32)), results(reference, strided(torch.float64)), torch.float32)
    inputs, state, W_h = problem(4, 6, 9, torch.float32)
    expected = problem(4, 6, 9)
    run(inputs, state, W_h).sum().backward()  # the gradient is one number, expanded
    reference(*expected).sum().backward()
    gradients = ({str(i): a.grad for i, a in enumerate(leaves)} for leaves in ((inputs, state, W_h), expected))
    assert_same(*gradients, torch.float32)


@pytest.mark.parametrize("execution", ["reference", *(name for name, dtype in PAIRS if dtype == torch.float64)])
def test_gradcheck(execution: str) -> None:
    assert torch.autograd.gradcheck(run_of(execution, torch.float64), problem(4, 3, 5))


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_piece_at_a_time_is_the_whole(execution: str) -> None:
    run = run_of(execution, torch.float32)

    def pieces(inputs: Tensor, state: Tensor, W_h: Tensor) -> Tensor:
        first = run(inputs[:4], state, W_h)
        return torch.cat([first, run(inputs[4:], first[-1], W_h)])  # the gradient crosses the cut

    assert_same(results(pieces, problem(9, 2, 5, torch.float32)), results(reference, problem(9, 2, 5)), torch.float32)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_used_twice_in_one_graph(execution: str) -> None:
    run = run_of(execution, torch.float32)

    def twice(run: TanhRun) -> TanhRun:
        return lambda inputs, state, W_h: run(run(inputs, state, W_h), state, W_h)

    ours = results(twice(run), problem(3, 2, 4, torch.float32))
    assert_same(ours, results(twice(reference), problem(3, 2, 4)), torch.float32)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_without_gradients(execution: str) -> None:
    run = run_of(execution, torch.float32)
    with torch.no_grad():
        outputs = run(*problem(3, 2, 4, torch.float32))
    assert not outputs.requires_grad
    assert_same({"outputs": outputs}, {"outputs": reference(*problem(3, 2, 4))}, torch.float32)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_number_that_is_none_stays_visible(execution: str) -> None:
    """A diverged model must not look like one that saturates."""
    run = run_of(execution, torch.float32)
    inputs, state, W_h = (value.detach() for value in problem(3, 2, 4, torch.float32))
    inputs[1, 0, 2], inputs[0, 1, 3], inputs[0, 1, 1] = float("nan"), float("inf"), float("-inf")
    outputs = run(inputs, state, W_h)
    assert outputs[1:, 0].isnan().any(1).all()
    assert outputs[0, 1, [3, 1]].tolist() == [1, -1]


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_memory_is_freed_with_the_backward_pass(execution: str) -> None:
    run = run_of(execution, torch.float32)
    kept: list[weakref.ref[list[Tensor]]] = []

    class Holder(list[Tensor]):
        pass

    def pack(tensor: Tensor) -> Holder:
        holder = Holder([tensor.detach()])
        kept.append(weakref.ref(holder))
        return holder

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder[0]):
        outputs = run(*problem(3, 2, 4, torch.float32))
    assert any(reference() is not None for reference in kept)
    outputs.sum().backward()
    assert [reference() for reference in kept] == [None] * len(kept)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_autocast_computes_in_bfloat16_and_returns_float32_gradients(execution: str) -> None:
    run = run_of(execution, torch.bfloat16)
    arguments = problem(5, 3, 6, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = results(run, arguments)
    assert ours.pop("outputs").dtype == torch.bfloat16
    expected = results(reference, problem(5, 3, 6))
    for what, gradient in ours.items():
        assert gradient.dtype == torch.float32
        difference = float((gradient - expected[what]).abs().max())
        assert difference <= TOLERANCES[torch.bfloat16] * float(expected[what].abs().max()), what
