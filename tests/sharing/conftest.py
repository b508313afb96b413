"""A run whose directory, text and settings have names that must not leave this machine."""

import json
import shutil
from pathlib import Path

import pytest

from charrnn.runs.choice import choose_checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.sharing.bundle import Bundle, bundle
from tests.conftest import Finished

SECRET = "mallory-secret"


@pytest.fixture(scope="session")
def private_run(trained: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run, as if somebody had trained it on a file of theirs, from a run of theirs."""
    base = tmp_path_factory.mktemp(SECRET)
    run = shutil.copytree(trained.run, base / "run", ignore=shutil.ignore_patterns("wandb"))
    description = json.loads((run / "config.json").read_text())
    home = f"/home/{SECRET}"
    description["config"] |= {"run_dir": f"{home}/runs/a", "resume": f"{home}/runs/a", "init_from": f"{home}/runs/b"}
    description["config"]["text"]["corpus"] = [f"{home}/texts/novel.txt", "-"]
    description["config"]["log"] |= {"project": SECRET, "sample_prompt": f"Dear {SECRET}"}
    description["text"]["description"] = f"{home}/texts/novel.txt (3 files)"
    description["environment"]["platform"] = f"Linux-{SECRET}"
    (run / "config.json").write_text(json.dumps(description))
    return run


@pytest.fixture(scope="session")
def bundled(private_run: Path) -> Bundle:
    """What a push of it sends, made in the home of somebody with that name."""
    directory = RunDirectory(private_run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", f"/home/{SECRET}")
        patch.setenv("USER", SECRET)
        patch.setattr("tempfile.tempdir", str(private_run.parent))
        chosen = choose_checkpoint(directory, "best", print)
        return bundle(directory, chosen, "owner/novel", license="cc-by-4.0")
