"""`native` on ARM: its sources compiled for aarch64 and run by an emulator, against the reference."""

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from charrnn.model import native
from charrnn.model.cells import CELLS
from charrnn.model.native import compiled
from charrnn.model.recurrence import reference

COMPILER, EMULATOR = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64-static")
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 0.05}
T, B, H = 5, 7, 21  # no whole vectors, no whole tiles


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """neon.cpp, and what runs it here."""
    if COMPILER is None or EMULATOR is None:
        pytest.skip("install: g++-aarch64-linux-gnu and qemu-user-static")
    path = tmp_path_factory.mktemp("neon") / "neon"
    sources = ["-I", str(Path(native.__file__).parent), str(Path(__file__).with_name("neon.cpp"))]
    options = [option for option in compiled._OPTIONS if option not in ("-shared", "-fPIC")]
    subprocess.run([COMPILER, *options, "-static", "-pthread", *sources, "-o", str(path)], check=True, timeout=120)
    return [EMULATOR, str(path)]


def numbers(tensor: Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_values_and_gradients_are_the_reference_s(program: list[str], cell: str, dtype: torch.dtype) -> None:
    G = CELLS[cell].gates
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(*shape, generator=generator) * scale).bfloat16().to(dtype)

    inputs, W_h, b_h = normal(T, B, G * H), normal(G * H, H, scale=H**-0.5), normal(G * H)
    b_u = CELLS[cell].split_bias(b_h)[1]
    states = [normal(B, H) for _ in CELLS[cell].states]
    weights = normal(T, B, H)
    c_0 = states[1].float() if cell == "lstm" else torch.zeros(B, H)
    fields = (inputs, W_h, torch.zeros_like(b_h) if b_u is None else b_u, states[0], c_0, weights)
    words = [cell, str(dtype).removeprefix("torch."), *map(str, (T, B, H))]
    process = subprocess.run(
        [*program, *words], input=b"".join(map(numbers, fields)), stdout=subprocess.PIPE, check=True, timeout=60
    )
    leaves = [leaf.double().requires_grad_() for leaf in (inputs, W_h)]
    wide = tuple(state.double() for state in states)
    outputs, _ = reference(CELLS[cell], leaves[0], wide, leaves[1], None if b_u is None else b_u.double())
    dx, dW_h = torch.autograd.grad((outputs * weights.double()).sum(), leaves)
    expected = [torch.cat([wide[0][None], outputs.detach()]), dx.view_as(inputs)]
    if cell != "gru":  # whose gate n has a du of its own
        expected.append(dW_h)
    rest = process.stdout
    for values in expected:
        size = values.numel() * dtype.itemsize
        ours = torch.frombuffer(bytearray(rest[:size]), dtype=dtype).view_as(values)
        rest = rest[size:]
        assert float((ours.double() - values).abs().max()) <= TOLERANCES[dtype] * max(1.0, float(values.abs().max()))
