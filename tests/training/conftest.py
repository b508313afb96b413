from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from charrnn.cli.train import parse
from charrnn.processes.start import start
from charrnn.text.settings import TextConfig
from charrnn.training.data import RunText
from charrnn.training.run import train


@pytest.fixture
def accelerators() -> Iterator[Callable[[str], Accelerator]]:
    """Makes the Accelerator of this process, of one precision; accelerate keeps it as global state, which ends here."""
    threads = torch.get_num_threads()
    _forget()
    yield lambda precision: start(mixed_precision=precision, threads=1)
    _forget()
    torch.set_num_threads(threads)


@pytest.fixture
def accelerator(accelerators: Callable[[str], Accelerator]) -> Accelerator:
    return accelerators("no")


@pytest.fixture
def trains(accelerators: Callable[[str], Accelerator]) -> Callable[..., int]:
    """`trains("alphabet", "--max-steps", 5)`: what charrnn-train does with these words, here; its exit status."""

    def call(*words: object) -> int:
        _forget()
        return train(parse([str(word) for word in words]))

    return call


@pytest.fixture
def text_of(tmp_path: Path, accelerator: Accelerator) -> Callable[[str], RunText]:
    """`text_of("abc")`: a prepared text of these characters, with the usual splits."""

    def made(content: str) -> RunText:
        (tmp_path / "text.txt").write_text(content)
        return RunText.open_collective(TextConfig(corpus=(str(tmp_path / "text.txt"),)), accelerator)

    return made


def _forget() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
