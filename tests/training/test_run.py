"""What goes wrong, in all processes or where the main process alone does something, every process knows at once."""

import json
from pathlib import Path

import pytest

from tests.conftest import finish
from tests.training.test_distributed import accelerate_launch

SCRIPT = """
import json, os, resource, sys
from charrnn.cli.train import parse
from charrnn.errors import CharRNNError
from charrnn.training import run
from charrnn.runs.checkpoint import newest_first
from charrnn.training.learner import Learner
from pathlib import Path

base = Path(sys.argv[1])
main, train_step, finish = os.environ["RANK"] == "0", Learner.train_step_collective, run._finish_collective

def disk(is_full):
    # To the main process, a disk that is full: no file can grow.
    if main:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))

def full_from_step_2(self):
    disk(self.step == 1)
    return train_step(self)

def full_at_the_end(pieces):
    disk(True)
    finish(pieces)

def without_checkpoints(pieces, spoil):
    for path in newest_first(pieces.directory.checkpoints) if main else []:
        spoil(path / "manifest.json")
    finish(pieces)

CASES = {
    "batch": (["--batch.size", 500], {}),
    "record": (["--log.every", 2], {"train_step": full_from_step_2}),
    "checkpoint": (["--log.every", 9, "--checkpoint-every", 2], {"train_step": full_from_step_2}),
    "beginning": ([], {"disk": True}),
    "end": ([], {"finish": full_at_the_end}),
    "damaged": ([], {"finish": lambda pieces: without_checkpoints(pieces, lambda path: path.write_text("{}"))}),
    "deleted": ([], {"finish": lambda pieces: without_checkpoints(pieces, Path.unlink)}),
}
FLAGS = "--process-timeout 20 --max-steps 3 --batch.size 4 --model.hidden-size 8 --log.wandb disabled --threads 1"
said = {}
for name, (flags, changes) in CASES.items():
    Learner.train_step_collective = changes.get("train_step", train_step)
    run._finish_collective = changes.get("finish", finish)
    disk(changes.get("disk", False))

    try:
        words = ["alphabet", "--log.sample-length", 0, "--run-dir", base / f"{name}", *FLAGS.split(), *flags]
        said[name] = str(run.train(parse([str(word) for word in words])))
    except CharRNNError as error:
        said[name] = str(error)
    disk(False)
(base / f"{os.environ['RANK']}.json").write_text(json.dumps(said))
os._exit(0)
"""


@pytest.mark.distributed
def test_mistakes_full_disks_and_lost_checkpoints_are_known_to_all_processes_at_once(tmp_path: Path) -> None:
    """A process that did not learn it would wait for the other until the launch is given up."""
    (tmp_path / "script.py").write_text(SCRIPT)
    finished = finish(tmp_path, accelerate_launch(2, tmp_path / "script.py", tmp_path))
    assert finished.returncode == 0, finished.stderr
    first, second = (json.loads((tmp_path / f"{process}.json").read_text()) for process in range(2))
    assert first == second
    full = "(File too large): free space"
    expected = {
        "batch": "the largest batch size that fits is 46",
        "record": f"record/metrics.jsonl: cannot be written {full} there and resume",
        "checkpoint": f"checkpoint/checkpoints/step-00000002: checkpoint not written {full} or make it writable",
        "beginning": f"beginning/config.json: cannot be written {full} there",
        "end": f"end/metrics.jsonl: cannot be written {full} there and resume",
        "damaged": "checkpoints/step-00000003: not a whole checkpoint ('format_version'): use another one, but there",
        "deleted": "deleted/checkpoints: its checkpoints have been deleted: start the same command again",
    }
    assert first.keys() == expected.keys()
    assert not (tmp_path / "batch").exists()
    for case, line in expected.items():
        assert line in str(first[case]), case
        assert len(str(first[case]).splitlines()) == 1
