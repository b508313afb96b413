"""The output layer and its loss in one are a linear layer and cross_entropy: values, gradients, in pieces or whole."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charrnn.model import loss as module
from charrnn.model import native
from charrnn.model.loss import LossAndGradients, in_pieces, output_loss
from tests.model.native_cpus import NATIVE

N, H, V = 17, 5, 11


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (N, H), (V, H), (V,)
    leaves = (torch.randn(*shape, generator=generator, dtype=torch.float64).bfloat16() for shape in shapes)
    return *(leaf.to(dtype).requires_grad_() for leaf in leaves), torch.randint(V, (N,), generator=generator)  # type: ignore[return-value]


def run_of(name: str, dtype: torch.dtype) -> LossAndGradients:
    """That of torch, or of `native`; where this machine lacks what it needs (a compiler), the test is skipped."""
    if name == "torch":
        return in_pieces
    reason = native.why_not(torch.device("cpu"), dtype)
    if reason:
        pytest.skip(f"install: a C++ compiler (native: {reason})")
    return native.output_loss


@pytest.fixture(params=[1, 3 * V, 2**20])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One position a piece, three (the last has two), all."""
    monkeypatch.setattr(module, "PIECE", request.param)


# bfloat16: the gradient of a logit has 8 bits, and there are 17 of them in a sum.
@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize(
    ("run", "dtype", "tolerance"),
    [
        ("torch", torch.float64, 1e-12),
        *((run, torch.float32, 1e-5) for run in ("torch", *NATIVE)),
        *((run, torch.bfloat16, 0.02) for run in ("torch", *NATIVE)),
    ],
)
@pytest.mark.parametrize("factor", [1.0, -2.5])
def test_it_is_linear_and_cross_entropy(run: str, dtype: torch.dtype, tolerance: float, factor: float) -> None:
    *leaves, targets = problem(dtype)
    *expected_leaves, _ = problem()
    loss, sums = output_loss(*leaves, targets, scale=0.5, run=run_of(run, dtype))
    outputs, weight, bias = expected_leaves
    logits = F.linear(outputs, weight, bias)
    expected = F.cross_entropy(logits, targets, reduction="sum")
    assert (loss.dtype, sums.dtype) == (torch.promote_types(dtype, torch.float32),) * 2
    assert loss.item() == pytest.approx(0.5 * expected.item(), rel=tolerance)
    assert sums.tolist() == [pytest.approx(expected.item(), rel=tolerance), int((logits.argmax(1) == targets).sum())]
    gradients = torch.autograd.grad(loss * factor, leaves)
    expected_gradients = torch.autograd.grad(expected * 0.5 * factor, expected_leaves)
    for ours, theirs, leaf in zip(gradients, expected_gradients, leaves, strict=True):
        assert ours.dtype == leaf.dtype
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance * theirs.abs().max().item())


@pytest.mark.usefixtures("_pieces")
def test_gradcheck() -> None:
    *leaves, targets = problem()
    assert torch.autograd.gradcheck(lambda *leaves: output_loss(*leaves, targets, scale=0.7)[0], leaves)


@pytest.mark.parametrize("run", ["torch", *NATIVE])
def test_arguments_need_not_be_contiguous(run: str) -> None:
    """With T = 1 the targets of a batch are a column of its windows."""
    outputs, weight, bias, targets = problem(torch.float32)
    every_other = torch.stack([targets, -targets], 1)[:, 0]
    strided = (outputs.detach().T.contiguous().T, weight.detach().T.contiguous().T, bias[:1].detach().expand(V))
    assert not any(each.is_contiguous() for each in (every_other, *strided))
    ours = run_of(run, torch.float32)(*strided, every_other, 0.5)
    theirs = in_pieces(*(each.double().contiguous() for each in strided), targets, 0.5)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_it_may_be_used_twice_and_without_gradients() -> None:
    *leaves, targets = problem()
    twice = torch.autograd.grad(output_loss(*leaves, targets)[0] + output_loss(*leaves, targets)[0], leaves)
    once = torch.autograd.grad(output_loss(*leaves, targets)[0], leaves)
    torch.testing.assert_close(twice, tuple(2 * gradient for gradient in once))
    with torch.no_grad():
        assert not output_loss(*leaves, targets)[0].requires_grad


def test_under_autocast_the_products_are_bfloat16_and_the_losses_float32() -> None:
    *leaves, targets = problem(torch.float32)
    expected, _ = output_loss(*leaves, targets)
    with torch.autocast("cpu", torch.bfloat16):
        loss, sums = output_loss(*leaves, targets)
    assert (loss.dtype, sums.dtype) == (torch.float32, torch.float32)
    assert 0 < abs(loss.item() / expected.item() - 1) < 0.01  # bfloat16 has 8 bits
    gradients = torch.autograd.grad(loss, leaves)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


@pytest.mark.parametrize("run", ["torch", *NATIVE])
def test_a_loss_beyond_float32_s_exponentials(run: str) -> None:
    """The true character has a probability of exp(-400): no logarithm of zero."""
    logits = torch.tensor([[400.0, 0.0]])
    loss, sums = output_loss(logits, torch.eye(2), torch.zeros(2), torch.tensor([1]), run=run_of(run, torch.float32))
    assert (loss.item(), sums.tolist()) == (400, [400, 0])


# bfloat16: dz and dh are rounded to 8 bits once each.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-7)])
@pytest.mark.parametrize(("N", "H", "V"), [(1, 1, 1), (2, 9, 33), (300, 40, 7), (600, 17, 65), (7, 32, 64)])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("execution", NATIVE)
def test_native_around_its_tiles(
    monkeypatch: pytest.MonkeyPatch,
    execution: str,
    dtype: torch.dtype,
    tolerance: float,
    N: int,
    H: int,
    V: int,
    threads: int,
) -> None:
    """Its tiles are up to 8 x 32, its blocks 32 of N, its chunks 256; a thread takes 128 of N or more."""
    run = run_of(execution, dtype)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(N)
    leaves = [torch.randn(shape, generator=generator).to(dtype) for shape in ((N, H), (V, H), (V,))]
    targets = torch.randint(V, (N,), generator=generator)
    sums, *gradients = run(*leaves, targets, 0.5)  # type: ignore[call-arg, arg-type]
    expected_sums, *expected = in_pieces(*(leaf.double() for leaf in leaves), targets, 0.5)  # type: ignore[call-arg, arg-type]
    assert sums[1] == expected_sums[1]
    # Exact inputs, float32 sums; exp by a series to 4 terms in bfloat16.
    assert sums[0].item() == pytest.approx(expected_sums[0].item(), rel=1e-5 if dtype == torch.float32 else 1e-4)
    assert [gradient.dtype for gradient in gradients] == [dtype, torch.float32, torch.float32]
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance * theirs.abs().max().item())


@pytest.mark.parametrize("run", ["torch", *NATIVE])
def test_a_nan_stays_one(run: str) -> None:
    """A run stops where its loss is no number; a kernel that lost it would train on."""
    outputs = torch.zeros(3, 2)
    outputs[1] = torch.nan
    loss, _ = output_loss(
        outputs, torch.ones(4, 2), torch.zeros(4), torch.tensor([0, 1, 2]), run=run_of(run, torch.float32)
    )
    assert loss.isnan()


@pytest.mark.parametrize("run", ["torch", *NATIVE])
@pytest.mark.parametrize("target", [-1, V])
def test_no_target_beyond_the_vocabulary(run: str, target: int) -> None:
    *leaves, targets = problem(torch.float32)
    targets[3] = target
    with pytest.raises((IndexError, RuntimeError), match=r"bound|within"):
        output_loss(*leaves, targets, run=run_of(run, torch.float32))


def test_float16_loses_no_gradient_to_the_scale() -> None:
    """With a loss that is scaled up only after `scale`, as a GradScaler does: 1e-7 alone is nearly float16's zero."""
    outputs, weight, bias, targets = problem(torch.float16)
    loss, _ = output_loss(outputs, weight, bias, targets, scale=1e-7)
    gradients = torch.autograd.grad(loss * 1e7, (outputs, weight, bias))
    *expected_leaves, _ = problem()
    expected = torch.autograd.grad(output_loss(*expected_leaves, targets)[0], expected_leaves)
    for ours, theirs in zip(gradients, expected, strict=True):
        # float16 has 11 bits; sums of 17.
        torch.testing.assert_close(ours.double(), theirs, rtol=0.01, atol=0.01)
