"""The backends on a CUDA device: each is the reference's function there too."""

import pytest
import torch

from charrnn.model.backends import BACKENDS
from tests.model.agreement import SIZES, assert_agrees, problem

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="not here: there is no CUDA device"),
]


@pytest.mark.parametrize("name", ["fused", "cudnn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("T", "B", "H"), SIZES)
def test_values_and_gradients_are_the_reference_s(name: str, dtype: torch.dtype, T: int, B: int, H: int) -> None:
    arguments = problem(T, B, H, dtype, "cuda")
    assert not BACKENDS[name].refusal(arguments[0].device, dtype)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        assert_agrees(BACKENDS[name].run, *arguments)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_cudnn_is_cudnn(dtype: torch.dtype) -> None:
    outputs = BACKENDS["cudnn"].run(*problem(6, 3, 5, dtype, "cuda"))
    assert outputs.grad_fn is not None
    assert outputs.grad_fn.name() == "CudnnRnnBackward0"
