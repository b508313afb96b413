"""What one process finds, all of them know: tried with two real ones."""

import json
from pathlib import Path

import pytest

from tests.conftest import finish
from tests.training.test_distributed import accelerate_launch

SCRIPT = """
import json, os, sys, time
from pathlib import Path
import torch
from charrnn.errors import CorpusError, RunError
from charrnn.processes import collectives
from charrnn.processes.failures import lost_process
from charrnn.processes.start import start

collectives.SIGN_OF_LIFE_SECONDS = 0.2
accelerator = start(mixed_precision="no", threads=1, timeout_seconds=2)
me = accelerator.process_index

def fail(kind):
    raise kind("what is wrong: mend it")

def attempt(act):
    try:
        return act()
    except Exception as error:
        return [type(error).__name__, str(error)]

def parameters():
    module = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(module.weight, me + 5)
    collectives.broadcast_parameters_collective(module)
    return module.weight.tolist()

from_1 = b"from 1" if me == 1 else b"longer than it"
said = [
    attempt(lambda: collectives.on_main_collective(accelerator, lambda: time.sleep(3) or {"decided by": me})),
    attempt(lambda: collectives.on_main_collective(accelerator, lambda: fail(RunError))),
    attempt(lambda: collectives.on_all_collective(accelerator, lambda: 10 * me)),
    attempt(lambda: collectives.on_all_collective(accelerator, lambda: fail(CorpusError) if me else "no error")),
    attempt(lambda: collectives.broadcast_bytes_collective(accelerator, "é".encode() if me == 0 else b"").decode()),
    attempt(lambda: collectives.broadcast_bytes_collective(accelerator, from_1, 1).decode()),
    attempt(lambda: collectives.broadcast_bytes_collective(accelerator, b"" if me == 0 else b"not empty").decode()),
    attempt(lambda: str(collectives.made_on_main_collective(accelerator, lambda: {me}))),
    attempt(lambda: collectives.made_on_main_collective(accelerator, lambda: fail(RunError))),
    attempt(parameters),
]
if me == 0:
    try:
        accelerator.gather(torch.zeros(1))  # the other one has gone, or is about to
    except RuntimeError as error:
        said.append(str(lost_process(error)))
Path(sys.argv[1], f"{me}.json").write_text(json.dumps(said))
os._exit(0)
"""


@pytest.mark.distributed
def test_two_processes_know_the_same(tmp_path: Path) -> None:
    """The first decision takes longer than a process waits for another: signs of life keep the second one waiting."""
    (tmp_path / "script.py").write_text(SCRIPT)
    finished = finish(tmp_path, accelerate_launch(2, tmp_path / "script.py", tmp_path))
    assert finished.returncode == 0, finished.stderr
    first, second = (json.loads((tmp_path / f"{process}.json").read_text()) for process in range(2))
    lost = first.pop()
    assert (first.pop(2), second.pop(2)) == (0, 10)
    assert (first.pop(6), second.pop(6)) == ("{0}", "None")
    assert first == second == [
        {"decided by": 0},
        ["RunError", "what is wrong: mend it"],
        ["CorpusError", "what is wrong: mend it"],
        "é",
        "from 1",
        "",
        ["RunError", "what is wrong: mend it"],
        [[5, 5]],
    ]  # fmt: skip
    (line,) = lost.splitlines()
    assert line.startswith("another process of the launch was lost (")
    assert line.endswith("): start the same command again, it goes on from the last checkpoint")
