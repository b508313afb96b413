"""metrics.jsonl is the record; W&B, read back from its own file, is the same in another place."""

import json
import math
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from accelerate import Accelerator

from charrnn.errors import ConfigError, RunError
from charrnn.runs.metrics import MetricsFile
from charrnn.runs.wandb_run import WandB, wandb_mode
from tests.anything import one_line
from tests.conftest import ROOT, TIMEOUT_SECONDS, Finished, command_line

KEY = "0123456789" * 4

# metrics.jsonl


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    return MetricsFile(tmp_path / "metrics.jsonl")


def test_one_json_object_a_line(metrics: MetricsFile, tmp_path: Path) -> None:
    assert metrics.read() == []
    written: list[dict[str, Any]] = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "sample": "é\n\u2028 line?\r😀"}]
    for record in written:
        metrics.append(record)
    assert metrics.read() == written
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == written


TRAINING, EVALUATION, TEST = {"train_loss_nats": 1.5}, {"sample": "a"}, {"test_loss_nats": 1.5, "best_step": 20}


@pytest.mark.parametrize(
    ("step", "evaluated", "kept"),
    [
        (0, False, 0),
        (19, True, 1),
        (20, False, 2),  # the evaluation of step 20 will be made again
        (20, True, 3),
        (25, False, 3),
        (30, False, 4),
        (30, True, 5),
        (99, True, 5),
    ],
)
def test_rewinding_forgets_what_came_later(metrics: MetricsFile, step: int, evaluated: bool, kept: int) -> None:
    """And the record of the test split in any case: it is the end of a run, and this one goes on."""
    records: list[dict[str, Any]] = [
        {"step": at} | what for at, what in [(10, TRAINING), (20, TRAINING), (20, EVALUATION), (30, TRAINING)]
    ]
    records += [{"step": 30}, {"step": 30} | TEST]  # an evaluation without a validation split or a sample says nothing
    for record in records:
        metrics.append(record)
    metrics.rewind(step, evaluated=evaluated)
    assert metrics.read() == records[:kept]
    metrics.append({"step": step + 1})
    metrics.flush()
    assert metrics.read() == [*records[:kept], {"step": step + 1}]


def test_rewinding_what_is_not_there_begins_it(metrics: MetricsFile) -> None:
    metrics.flush()
    metrics.rewind(0, evaluated=False)
    assert metrics.read() == []


@pytest.mark.parametrize("lost", range(1, 30))
def test_a_last_line_that_a_crash_cut_short_is_left_out(metrics: MetricsFile, tmp_path: Path, lost: int) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in (1, 2):
        metrics.append({"step": step, "loss": 1.25e-3})
    last = path.read_bytes().splitlines(keepends=True)[-1]
    assert len(last) == 29
    path.write_bytes(path.read_bytes()[:-lost])
    assert metrics.read() == [{"step": 1, "loss": 1.25e-3}]
    metrics.rewind(5, evaluated=False)
    metrics.append({"step": 6})
    assert [record["step"] for record in metrics.read()] == [1, 6]


@pytest.mark.parametrize(
    "content", [b"[" * 100_000 + b"\n", b"\xff\n", b"[]\n", b'{"step": "1"}\n', b"null\n", b'{"step": 1\n{"step": 2}\n']
)
def test_lines_that_are_no_records(metrics: MetricsFile, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(RunError, match=r"metrics.jsonl: cannot be read \(.*\): mend or delete that line") as caught:
        metrics.read()
    assert one_line(caught.value)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"metrics.jsonl: cannot be written \(No such file or directory\)"):
        MetricsFile(tmp_path / "gone" / "metrics.jsonl").append({"step": 1})


# Where W&B logs to


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode_of(asked: str, project: str = "charrnn") -> str:
    """What a new process decides: W&B reads its settings once."""
    wandb.teardown()
    return wandb_mode(asked, project)


def log_in(home: Path, host: str) -> None:
    """What `wandb login` writes."""
    path = home / ".netrc"
    path.write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    path.chmod(0o600)


@pytest.mark.parametrize(
    ("asked", "environment", "mode"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY}, "online"),
        ("auto", {"WANDB_API_KEY": ""}, "offline"),
        ("auto", {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}, "offline"),
        ("auto", {"WANDB_MODE": "disabled", "WANDB_API_KEY": KEY}, "disabled"),
        ("auto", {"WANDB_MODE": "online", "WANDB_API_KEY": KEY}, "online"),
        ("offline", {"WANDB_MODE": "online", "WANDB_API_KEY": KEY}, "offline"),
        ("disabled", {"WANDB_API_KEY": KEY}, "disabled"),
        ("online", {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}, "online"),
    ],
)
def test_the_mode_from_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch, asked: str, environment: dict[str, str], mode: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert mode_of(asked) == mode


def test_a_login_is_found_where_wandb_login_puts_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(home, "api.wandb.ai")
    assert mode_of("auto") == mode_of("online") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8443/path")
    assert mode_of("auto") == "offline", "a login at another host is none here"
    log_in(home, "wandb.example.org:8443")
    assert mode_of("auto") == "online"
    monkeypatch.delenv("WANDB_BASE_URL")
    assert mode_of("auto") == "offline"


@pytest.mark.parametrize("directory", ["", "elsewhere"])
def test_the_host_of_wandb_login_host(home: Path, monkeypatch: pytest.MonkeyPatch, directory: str) -> None:
    log_in(home, "wandb.example.org")
    settings = home / (directory or ".config/wandb") / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://wandb.example.org\n")
    if directory:
        assert mode_of("auto") == "offline"
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(settings.parent))
    assert mode_of("auto") == mode_of("online") == "online"


@pytest.mark.parametrize(("key", "mode"), [(KEY, "online"), ("", "offline")])
def test_a_wandb_that_looks_for_logins_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, key: str, mode: str
) -> None:
    """Its own function is not public: without it the key in the environment still counts."""
    monkeypatch.setitem(sys.modules, "wandb.sdk.lib.wbauth", None)
    monkeypatch.delattr("wandb.sdk.lib.wbauth", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", key)
    assert wandb_mode("auto", "charrnn") == mode


def test_a_netrc_elsewhere_and_one_that_is_broken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(home, "api.wandb.ai")
    (home / ".netrc").rename(home / "moved")
    assert mode_of("auto") == "offline"
    monkeypatch.setenv("NETRC", str(home / "moved"))
    assert mode_of("auto") == "online"
    (home / "moved").write_text("machine\nnonsense")
    assert mode_of("auto") == "offline"


@pytest.mark.parametrize(
    ("asked", "environment", "name"),
    [("online", {}, "log.wandb"), ("online", {"WANDB_MODE": "offline"}, "log.wandb"),
     ("auto", {"WANDB_MODE": "online"}, "WANDB_MODE")],
)  # fmt: skip
def test_online_without_a_login_is_a_mistake(
    home: Path, monkeypatch: pytest.MonkeyPatch, asked: str, environment: dict[str, str], name: str
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match=f"{name} is online, but there is no W&B login here: run `wandb login`"):
        mode_of(asked)


@pytest.mark.parametrize("project", ["a/b", "50%", "x" * 129, "caf\udce9"])
def test_a_project_that_wandb_refuses(home: Path, project: str) -> None:
    for asked in ("auto", "offline"):
        with pytest.raises(
            ConfigError, match=r"log\.project is '.*': W&B refuses it \(.*\): choose another$"
        ) as caught:
            mode_of(asked, project)
        one_line(caught.value)
    assert mode_of("disabled", project) == "disabled"


@pytest.mark.parametrize(("name", "value"), [("WANDB_API_KEY", "short"), ("WANDB_BASE_URL", "nonsense")])
def test_settings_that_wandb_itself_refuses(home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    for asked in ("auto", "online"):
        with pytest.raises(ConfigError, match="W&B refuses its own settings") as caught:
            mode_of(asked)
        one_line(caught.value)


@pytest.mark.parametrize("asked", ["auto", "disabled"])
def test_a_mode_that_wandb_does_not_know(home: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("WANDB_MODE", "offlin")
    with pytest.raises(ConfigError, match="WANDB_MODE is 'offlin': it must be one of online, offline, disabled"):
        mode_of(asked)


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What `command` writes to a terminal, until it ends; nobody types anything."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    output, deadline = b"", time.monotonic() + TIMEOUT_SECONDS
    try:
        while time.monotonic() < deadline:
            readable, _, _ = select.select([master], [], [], 1.0)
            if readable:
                try:
                    output += os.read(master, 4096)
                except OSError:  # the terminal's last user has gone
                    break
        assert process.poll() is not None or process.wait(10) is not None, f"it waits: {output.decode()}"
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return output.decode()


def test_a_terminal_without_a_login_is_never_asked(home: Path, tmp_path: Path) -> None:
    """W&B itself would ask for an account, endlessly."""
    environment = os.environ | {"WANDB_MODE": "online", "HOME": str(home), "COLUMNS": "200"}
    command = command_line("-m", "charrnn.cli.train", "alphabet", "--run-dir", tmp_path / "run")
    lines = on_a_terminal(command, environment).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("charrnn-train: error: WANDB_MODE is online, but there is no W&B login here")
    assert not (tmp_path / "run").exists()


# A real offline run


def inspected(run: Path) -> list[dict[str, Any]]:
    """All records of the W&B run below `run`, by the reader that wandb itself has."""
    (path,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    result = subprocess.run(
        command_line("-m", "wandb", "leet", "inspect", "--json", path),
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def wandb_records(trained: Finished) -> list[dict[str, Any]]:
    return inspected(trained.run)


def history(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """What was logged, without W&B's own additions."""
    for record in records:
        if record["type"] == "history":
            yield {name: value for name, value in record["history"]["item"].items() if not name.startswith("_")}


def test_wandb_has_every_metric_of_the_record(trained: Finished, wandb_records: list[dict[str, Any]]) -> None:
    logged = [item for item in history(wandb_records) if not any(name.startswith("samples") for name in item)]
    recorded = [{name: value for name, value in r.items() if name != "sample"} for r in trained.records()]
    assert logged == recorded, "same names, same order, same values to the last bit"
    names = set().union(*logged)
    assert names >= {
        *(f"{split}_{what}" for split in ("train", "validation", "test") for what in ("loss_nats", "bpc", "accuracy")),
        "step", "characters_seen", "learning_rate", "gradient_norm", "characters_per_second",
    }  # fmt: skip


def test_step_is_the_axis(wandb_records: list[dict[str, Any]]) -> None:
    (metric,) = [record["metric"] for record in wandb_records if record["type"] == "metric"]
    assert (metric["glob_name"], metric["step_metric"]) == ("*", "step")


def test_wandb_has_the_config(trained: Finished, wandb_records: list[dict[str, Any]]) -> None:
    (config,) = [record["config"]["update"] for record in wandb_records if record["type"] == "config"]
    description = json.loads((trained.run / "config.json").read_text())
    assert config.pop("parameters") == 3446
    text = config.pop("text")
    assert text == description["config"].pop("text") | description["text"]
    assert config == description["config"]


def test_wandb_has_a_table_of_each_sample(trained: Finished) -> None:
    """One row each: all samples so far, each time, would be the square of their number."""
    files = (trained.run / "wandb").glob("offline-run-*/files/media/table/*.table.json")
    tables = sorted((json.loads(path.read_text()) for path in files), key=lambda table: table["data"][0])
    samples = [[record["step"], record["sample"]] for record in trained.records("sample")]
    assert [step for step, _ in samples] == [30, 60]
    assert tables == [{"columns": ["step", "text"], "data": [sample]} for sample in samples]


def test_wandb_s_summary_has_the_results(trained: Finished, wandb_records: list[dict[str, Any]]) -> None:
    summary: dict[str, Any] = {}
    for record in wandb_records:
        if record["type"] == "summary":
            summary |= record["summary"].get("update", {})
    (test,) = trained.records("test_loss_nats")
    assert summary["test_loss_nats"] == test["test_loss_nats"]
    assert summary["corpus"] == "alphabet"
    (exit_record,) = [record["exit"] for record in wandb_records if record["type"] == "exit"]
    assert exit_record.get("exit_code", 0) == 0


def test_every_record_says_where_it_stands(trained: Finished) -> None:
    records = trained.records()
    assert [record["step"] for record in trained.records("train_loss_nats")] == [7, 14, 21, 28, 30, 35, 42, 49, 56, 60]
    for record in records:
        assert record["characters_seen"] == 400 * record["step"]
        for name in ("train", "validation", "test"):
            if f"{name}_loss_nats" in record:
                assert record[f"{name}_bpc"] == record[f"{name}_loss_nats"] / math.log(2)
                assert 0 <= record[f"{name}_accuracy"] <= 1
    losses = [record["train_loss_nats"] for record in trained.records("train_loss_nats")]
    assert losses[0] > 2
    assert losses[-1] < 0.1


# Where it does not work


def started(asked: str, run: Path) -> WandB:
    return WandB(asked=asked, project="charrnn", run_dir=run, run_id="1", config={"text": "caf\udce9"})


def test_disabled_is_not_even_imported(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    started("disabled", tmp_path).log({"step": 1, "sample": "a"})


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user the system does not know."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)


@pytest.mark.parametrize("name", ["run", "caf\udce9"])
def test_auto_goes_on_without_it(homeless: None, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a home, which it needs, and in a directory whose name it cannot take."""
    assert mode_of("auto") == "offline"
    wandb_less = started("auto", tmp_path / name)
    wandb_less.log({"step": 1, "sample": "a"})
    wandb_less.finish({}, tmp_path)
    wandb_less.close()
    assert re.fullmatch(
        r"charrnn-train: W&B did not start \(.*\): training goes on without it; metrics.jsonl has every record\n",
        capsys.readouterr().err,
    )
    with pytest.raises(RunError, match=r"W&B did not start \(.*\): try --log.wandb disabled"):
        started("offline", tmp_path / name)


def test_a_table_that_cannot_be_made_ends_nothing(
    home: Path,
    accelerator: Accelerator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And a file's name that is not UTF-8 does not keep it from starting."""
    monkeypatch.setattr(sys, "argv", ["charrnn-train", "caf\udce9"])
    logs = started("offline", tmp_path)

    def broken(**table: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("wandb.Table", broken)
    for step in (1, 2):
        logs.log({"step": step, "sample": "a"})
    logs.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("charrnn-train: W&B has stopped (No space left on device): training goes on without it")


@pytest.mark.slow
def test_a_network_that_is_not_there_ends_in_an_offline_run(home: Path, tmp_path: Path) -> None:
    """With a key and `auto`: after W&B's own time-out, not after minutes, and training goes on."""
    environment = os.environ | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(home)}
    command = command_line("-m", "charrnn.cli.train", "alphabet", "--run-dir", tmp_path / "run", "--max-steps", 5)
    process = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "W&B is not reachable" in process.stderr
    assert "logging offline" in process.stderr
    logged = list(history(inspected(tmp_path / "run")))
    assert logged[-1]["step"] == 5
