"""launch/sweep.yaml, its command started by W&B's own agent. What W&B's server would choose is chosen here."""

import json
import os
import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from charrnn.cli.train import parse
from tests.conftest import ROOT, Finished, command_line, finish
from tests.runs.test_wandb_run import history, inspected

SWEEP = yaml.safe_load((ROOT / "launch" / "sweep.yaml").read_text())
CHOICES = {name: of.get("values") or [of["min"], of["max"]] for name, of in SWEEP["parameters"].items()}
COMBINATIONS = [{name: of[i % len(of)] for name, of in CHOICES.items()} for i in range(max(map(len, CHOICES.values())))]
"""Each value, and both ends of each range, at least once."""
AGENT = """
import json, os, sys
from wandb.wandb_agent import Agent

os.chdir(sys.argv[1])
command, orders = json.loads(sys.argv[2])
for order in orders:
    agent = Agent(api=None, queue=None)
    agent._sweep_command = [*command]
    agent._command_run(order)
    run = agent._run_processes[order["run_id"]]
    if status := run.wait():
        sys.exit(status)
    print("agent:", run._popen.pid, flush=True)
"""
PROGRAM = "import json, os, sys; print(json.dumps([os.getpid(), sys.argv[1:]]), flush=True)"


def by_the_agent(directory: Path, combinations: list[dict[str, Any]], program: Path, *flags: str) -> Finished:
    """What `wandb agent` runs in `directory` where the server says `combinations`, with `flags` added."""
    orders = [
        {"run_id": f"run{i}", "program": str(program), "args": {name: {"value": value} for name, value in of.items()}}
        for i, of in enumerate(combinations)
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the agent starts `python`
    environment = os.environ | {"PATH": path, "WANDB_DIR": str(directory), "WANDB_SWEEP_ID": "sweep0"}
    command = command_line("-c", AGENT, directory, json.dumps([[*SWEEP["command"], *flags], orders]))
    return finish(directory / "runs" / "sweep0" / "run0", command, env=environment)


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    """The text that the command names, where the agent runs."""
    path = tmp_path / "novel.txt"
    path.write_text("In the beginning was the end, and it went on.\n" * 60)
    return path


def test_its_command_says_what_its_parameters_say(novel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = novel.with_name("program.py")
    program.write_text(PROGRAM)
    told = by_the_agent(novel.parent, COMBINATIONS, program)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    monkeypatch.chdir(novel.parent)
    for i, of in enumerate(COMBINATIONS):
        pid, words = json.loads(lines[2 * i])
        assert lines[2 * i + 1] == f"agent: {pid}", "the agent's signals are for charrnn itself"
        config = parse(words)
        assert {name: attrgetter(name)(config) for name in of} == of
        assert config.text.corpus == ("novel.txt",)
        assert config.run_dir == f"runs/sweep0/run{i}"
        assert (config.epochs, config.evaluate_every, config.log.wandb) == (10, 0, "online")


def test_a_run_of_it_logs_what_is_compared(novel: Path) -> None:
    short = "--log.wandb offline --epochs 2 --batch.size 4 --batch.length 20 --threads 1"
    small = "--model.hidden-size 8 --model.recurrence fused"
    run = by_the_agent(novel.parent, COMBINATIONS[:1], ROOT / "train.py", *short.split(), *small.split())
    assert run.returncode == 0, run.stderr
    metric = SWEEP["metric"]["name"]
    losses = [record[metric] for record in run.records(metric)]
    assert len(losses) == 2, "one of each pass, which early_terminate counts"
    records = inspected(run.run)
    assert [item[metric] for item in history(records) if metric in item] == losses
    (of_the_run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (of_the_run["run_id"], of_the_run["sweep_id"]) == ("run0", "sweep0")
