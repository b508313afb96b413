"""Triton's kernels without a GPU: what they compute by Triton's interpreter, what they need by its compiler."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.errors import ConfigError
from charrnn.model import CharRNN, ModelConfig
from charrnn.model.recurrence import Recurrence, reference
from charrnn.model.triton_recurrence import NUM_WARPS, compile_options, shared_bytes, triton_recurrence
from tests.model.agreement import SIZES, assert_agrees, problem

# The interpreter of Triton 3.6 takes no loop bound from numpy 2.4.
triton = pytest.importorskip("triton", minversion="3.7", reason="triton 3.7 is not installed")
tl = triton.language


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Recurrence:
    """`triton_recurrence` with its kernels run by Triton's interpreter, which takes tensors on the CPU."""
    from triton.runtime.interpreter import InterpretedFunction, InterpreterBuilder

    from charrnn.model import triton_kernels

    dot = InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        """The interpreter keeps bfloat16 as its bits, and multiplies them as integers: give it their values."""
        a, b = (self.cast_impl(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x for x in (a, b))
        return dot(self, a, b, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)
    for name in ("forward", "backward"):
        monkeypatch.setattr(triton_kernels, name, InterpretedFunction(getattr(triton_kernels, name).fn))
    run: Recurrence = triton_recurrence
    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("T", "B", "H"), SIZES)
def test_values_and_gradients_are_the_reference_s(
    interpreted: Recurrence, T: int, B: int, H: int, dtype: torch.dtype
) -> None:
    assert_agrees(interpreted, *problem(T, B, H, dtype))


def test_a_piece_at_a_time_is_the_whole(interpreted: Recurrence) -> None:
    inputs, state, W_h = problem(9, 2, 5, torch.float32)
    first = interpreted(inputs[:4], state, W_h)
    second = interpreted(inputs[4:], first[-1], W_h)
    torch.testing.assert_close(torch.cat([first, second]), interpreted(inputs, state, W_h), rtol=0, atol=0)
    leaves = (inputs, state, W_h)
    expected = torch.autograd.grad(reference(inputs, state, W_h)[4:].sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad(second.sum(), leaves), expected)  # the gradient crosses the cut


def test_used_twice_in_one_graph(interpreted: Recurrence) -> None:
    inputs, state, W_h = leaves = problem(3, 2, 4, torch.float32)
    twice = interpreted(interpreted(inputs, state, W_h), state, W_h).sum()
    expected = reference(reference(inputs, state, W_h), state, W_h).sum()
    torch.testing.assert_close(torch.autograd.grad(twice, leaves), torch.autograd.grad(expected, leaves))


def test_arguments_that_are_not_contiguous(interpreted: Recurrence) -> None:
    inputs, state, W_h = (tensor.detach() for tensor in problem(6, 3, 5, torch.float32))
    turned = inputs.transpose(0, 1).contiguous().transpose(0, 1), state.T.contiguous().T, W_h.T.contiguous().T
    assert not any(tensor.is_contiguous() for tensor in turned)
    torch.testing.assert_close(interpreted(*turned), interpreted(inputs, state, W_h), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # to infinity, as it is meant
def test_large_activations_saturate(interpreted: Recurrence) -> None:
    inputs = torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4]).view(1, 1, 5)
    outputs = interpreted(inputs, torch.zeros(1, 5), torch.zeros(5, 5))
    assert outputs.flatten().tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]


def test_a_cpu_is_refused() -> None:
    model = CharRNN(ModelConfig(vocabulary_size=11, embedding_size=3, hidden_size=7, recurrence="triton"))
    with pytest.raises(
        ConfigError, match=r"model\.recurrence is triton: Triton's kernels run on a CUDA device, not on "
    ):
        model(torch.zeros(5, 2, dtype=torch.long))


def compiled(name: str, dtype: torch.dtype, H: int, capability: int) -> Any:
    """A kernel as it is compiled for a GPU of `capability`; needs none."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from charrnn.model import triton_kernels

    kernel = getattr(triton_kernels, name)
    constants = compile_options(dtype, H)
    names = [argument for argument in kernel.arg_names if argument not in constants]
    pointer = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}[dtype]
    signature = {argument: "i32" if argument in ("T", "B", "H") else pointer for argument in names}
    aligned = {(position,): [["tt.divisibility", 16]] for position in range(len(names))}
    source = ASTSource(kernel, signature | dict.fromkeys(constants, "constexpr"), constants, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": NUM_WARPS})


@pytest.mark.parametrize("name", ["forward", "backward"])
@pytest.mark.parametrize(("dtype", "H"), [(torch.bfloat16, 256), (torch.float32, 128)])
def test_a_program_has_room_for_w_h(name: str, dtype: torch.dtype, H: int, tmp_path: Path) -> None:
    """The largest that an A100's 163 KB of shared memory and 256 KB of registers hold."""
    kernel = compiled(name, dtype, H, 80)
    assert kernel.metadata.shared <= shared_bytes(dtype, H) <= 163 * 1024 < shared_bytes(dtype, H + 1)
    assert "mma.sync" in kernel.asm["ptx"], "it multiplies on tensor cores"
    (tmp_path / "kernel.ptx").write_text(kernel.asm["ptx"])
    ptxas = Path(triton.__path__[0], "backends", "nvidia", "bin", "ptxas")
    command = [ptxas, "--verbose", "--gpu-name=sm_80", tmp_path / "kernel.ptx", "--output-file=/dev/null"]
    report = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    spilled = re.search(r"(\d+) bytes spill stores", report)
    assert spilled is not None, report
    # A thread's share of W_h is 512 bytes (1,024 where float32 has two parts): what spills is a few addresses.
    assert int(spilled[1]) <= 32
