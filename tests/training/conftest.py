import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor

from charrnn.cli.train import parse
from charrnn.processes.start import start
from charrnn.text.settings import TextConfig
from charrnn.training.data import RunText
from charrnn.training.learner import Learner
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
def trains() -> Callable[..., int]:
    """`trains("alphabet", "--max-steps", 5)` does what charrnn-train does, here; returns the signal that ended it."""

    def call(*words: object) -> int:
        return train(parse([str(word) for word in words])).signal

    return call


@pytest.fixture
def ends_at(monkeypatch: pytest.MonkeyPatch, trains: Callable[..., int]) -> Callable[..., None]:
    """`ends_at(step, signal, *words)`: a run that the signal meets in that step; without one it crashes after it."""
    original = Learner.train_step_collective

    def call(step: int, number: int, *arguments: object) -> None:
        def train_step(self: Learner) -> Tensor:
            norm = original(self)
            if self.step == step and number:
                os.kill(os.getpid(), number)
            elif self.step == step:
                raise ZeroDivisionError  # which nobody catches
            return norm

        with monkeypatch.context() as patch:
            patch.setattr(Learner, "train_step_collective", train_step)
            if number:
                assert trains(*arguments) == number
            else:
                with pytest.raises(ZeroDivisionError):
                    trains(*arguments)

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
