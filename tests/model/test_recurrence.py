"""Every execution of the recurrence is the reference's function: values, gradients, odd sizes."""

import pytest
import torch
from torch import Tensor

from charrnn.model.backends import BACKENDS
from charrnn.model.recurrence import reference

EXECUTIONS = [name for name in BACKENDS if name != "reference"]
SIZES = [(1, 1, 1), (1, 3, 5), (7, 1, 4), (6, 3, 5), (33, 5, 17)]  # T, B, H: all different, so no transpose can pass


def problem(T: int, B: int, H: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(T * 100 + B * 10 + H)

    def make(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    return make(T, B, H), make(B, H), (make(H, H) * 0.5).detach().requires_grad_()


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize(("T", "B", "H"), SIZES)
def test_values_and_gradients_are_the_reference_s(execution: str, T: int, B: int, H: int) -> None:
    results = {}
    for name in (execution, "reference"):
        arguments = problem(T, B, H)
        outputs = BACKENDS[name].run(*arguments)
        weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
        (outputs * weights).sum().backward()
        results[name] = [outputs, *(a.grad for a in arguments)]
    for what, ours, theirs in zip(("outputs", "inputs", "state", "W_h"), *results.values(), strict=True):
        # float64: only the order of sums differs.
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12, msg=lambda m, w=what: f"{w}: {m}")


@pytest.mark.parametrize("execution", sorted(BACKENDS))
def test_gradcheck(execution: str) -> None:
    assert torch.autograd.gradcheck(BACKENDS[execution].run, problem(4, 3, 5))


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_piece_at_a_time_is_the_whole(execution: str) -> None:
    inputs, state, W_h = problem(9, 2, 5)
    run = BACKENDS[execution].run
    first = run(inputs[:4], state, W_h)
    second = run(inputs[4:], first[-1], W_h)
    whole = run(inputs, state, W_h)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    gradients = torch.autograd.grad(second.sum(), (inputs, state, W_h))
    expected = torch.autograd.grad(reference(inputs, state, W_h)[4:].sum(), (inputs, state, W_h))
    torch.testing.assert_close(gradients, expected)  # the gradient crosses the cut


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_used_twice_in_one_graph(execution: str) -> None:
    inputs, state, W_h = problem(3, 2, 4)
    run = BACKENDS[execution].run
    twice = run(run(inputs, state, W_h), state, W_h).sum()
    expected = reference(reference(inputs, state, W_h), state, W_h).sum()
    leaves = (inputs, state, W_h)
    torch.testing.assert_close(torch.autograd.grad(twice, leaves), torch.autograd.grad(expected, leaves))


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_without_gradients(execution: str) -> None:
    inputs, state, W_h = problem(3, 2, 4)
    with torch.no_grad():
        outputs = BACKENDS[execution].run(inputs, state, W_h)
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, reference(inputs, state, W_h).detach())


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_autocast_computes_in_bfloat16_and_returns_float32_gradients(execution: str) -> None:
    inputs, state, W_h = problem(5, 3, 6, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = BACKENDS[execution].run(inputs, state, W_h)
    assert outputs.dtype == torch.bfloat16
    outputs.float().sum().backward()
    expected = torch.autograd.grad(reference(inputs, state, W_h).sum(), (inputs, state, W_h))
    for leaf, gradient in zip((inputs, state, W_h), expected, strict=True):
        assert leaf.grad is not None
        assert leaf.grad.dtype == torch.float32
        # bfloat16 keeps 8 bits: a relative step of 2^-8, accumulated over five steps.
        torch.testing.assert_close(leaf.grad, gradient, rtol=0.1, atol=0.1)
