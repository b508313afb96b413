"""Where metrics go: always to metrics.jsonl, which is the record; and to W&B, which is the view of it."""

import json
import netrc
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from accelerate.tracking import WandBTracker

from charrnn.errors import ConfigError, RunError, first_line
from charrnn.files import sync, write_atomically

__all__ = ["MetricsFile", "Record", "WandB", "wandb_mode"]

INIT_TIMEOUT_SECONDS = 20
Record: TypeAlias = Mapping[str, float | str]
"""What is known at one step: `step`, `characters_seen`, and some of the names in docs/training.md's list."""
_MODES = ("online", "offline", "disabled")


class MetricsFile:
    """metrics.jsonl: one JSON object a line, each with `step` and `characters_seen`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: Record) -> None:
        """Add one record; it is in the file, not in a buffer, when this returns."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> RunError:
        return RunError(f"{self._path}: cannot be written ({error.strerror}): free space there and resume")

    def read(self) -> list[Record]:
        """All whole records; a last line that a crash cut short is left out."""
        if not self._path.exists():
            return []
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]
            records: list[Record] = [json.loads(line) for line in lines]
            if not all(isinstance(r, dict) and isinstance(r.get("step"), int) for r in records):
                raise ValueError("a line is no record of a step")
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self._path}: cannot be read ({first_line(error)}): mend or delete that line") from error
        return records

    def flush(self) -> None:
        """Have all records on the disk: a checkpoint that is there must find those before it, after a crash as well."""
        try:
            sync(self._path)
        except FileNotFoundError:
            pass  # nothing is recorded yet
        except OSError as error:
            raise self._not_written(error) from error

    def rewind(self, step: int, *, evaluated: bool) -> None:
        """Forget what came after `step`, and after its own evaluation if `evaluated`: it will be written again.

        The record of the test split goes in any case: that is the end of a run, and this one goes on.
        """
        kept = [record for record in self.read() if "best_step" not in record and _before(record, step, evaluated)]
        write_atomically(self._path, "".join(json.dumps(record) + "\n" for record in kept))


def wandb_mode(asked: str) -> str:
    """Decide between online, offline and disabled before W&B is started, since it would ask or wait.

    `auto` is WANDB_MODE where that is set, online where an API key is found (WANDB_API_KEY or ~/.netrc), else offline.
    Raises ConfigError for `online` without a key, and for a WANDB_MODE that wandb does not know.
    """
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted not in ("", *_MODES, "shared", "dryrun", "run"):  # wandb would not start, whatever was asked of us
        raise ConfigError(f"WANDB_MODE is {wanted!r}: it must be one of {', '.join(_MODES)}")
    chosen = wanted if asked == "auto" else asked
    if chosen not in _MODES:
        return "online" if _has_wandb_key() else "offline"
    if chosen == "online" and not _has_wandb_key():
        who = "WANDB_MODE" if asked == "auto" else "log.wandb"
        raise ConfigError(f"{who} is online, but there is no W&B login here: run `wandb login`, or use offline")
    return chosen


def _has_wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return not _wandb_hosts().isdisjoint(known)


def _wandb_hosts() -> set[str]:
    """The names under which wandb would look for a login in ~/.netrc."""
    import wandb  # it knows which host it would log in to

    settings = wandb.Settings(silent=True)
    public = {urlsplit(settings.base_url).netloc, "api.wandb.ai"}  # `wandb login` wrote the second one for years
    directory = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    settings.settings_system = str(directory / "settings")  # where `wandb login --host` keeps the host
    settings.update_from_system_settings()
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or settings.base_url).netloc
    return public if host in public else {host}


def _before(record: Record, step: int, evaluated: bool) -> bool:
    """Whether a record was written before the checkpoint of `step`."""
    at = float(record["step"])
    return at < step or (at == step and (evaluated or "train_loss_nats" in record))


class WandB:
    """A W&B run through accelerate's tracker; the metrics' own `step` is the axis, so going back loses nothing.

    W&B is a view: where it fails in the midst of a run, that is said once and training goes on without it.
    """

    def __init__(self, *, asked: str, project: str, run_dir: Path, run_id: str, config: dict[str, Any]) -> None:
        mode = wandb_mode(asked)
        self._failed = False
        try:
            self._start(mode, project, run_dir, run_id, config)
        except Exception as error:  # wandb raises its own kinds, and others, for a network that is not there
            if mode != "online" or asked == "online":
                raise RunError(f"W&B did not start ({first_line(error)}): try --log.wandb offline") from error
            print(f"W&B is not reachable ({first_line(error)}): logging offline", file=sys.stderr)
            self._start("offline", project, run_dir, run_id, config)

    def _start(self, mode: str, project: str, run_dir: Path, run_id: str, config: dict[str, Any]) -> None:
        import wandb

        self.mode = mode
        settings = wandb.Settings(init_timeout=INIT_TIMEOUT_SECONDS, console="off", silent=True)
        # Online, a resumed run goes on in its own curve. Offline, each start is a run of its own, all in one group:
        # files of one run that are sent one after another would replace each other.
        same = {"id": run_id, "resume": "allow"} if mode == "online" else {"group": run_dir.name}
        self._tracker = WandBTracker(project, mode=mode, dir=str(run_dir), name=run_dir.name, settings=settings, **same)
        self._tracker.start()
        self._tracker.store_init_configuration(config)
        if mode != "disabled":
            self._tracker.run.define_metric("*", step_metric="step")

    def log(self, record: Record) -> None:
        """Log a record of metrics.jsonl under the same names."""
        self._try(lambda: self._tracker.log(dict(record)))

    def log_samples(self, step: int, samples: list[tuple[int, str]]) -> None:
        """Log the table of all samples so far, (step, text) each."""
        import wandb

        table = wandb.Table(columns=["step", "text"], data=[list(row) for row in samples])
        self._try(lambda: self._tracker.log({"samples": table, "step": step}))

    def finish(self, results: Mapping[str, Any], model: Path) -> None:
        """Record the results; the ONNX file goes along as an artifact where online."""
        self._try(lambda: self._finish(results, model))

    def _finish(self, results: Mapping[str, Any], model: Path) -> None:
        import wandb

        if self.mode == "disabled":
            return
        self._tracker.run.summary.update(dict(results))
        if self.mode == "online":
            artifact = wandb.Artifact(f"{self._tracker.run.name}-model", type="model")
            artifact.add_file(str(model))
            self._tracker.run.log_artifact(artifact)

    def close(self) -> None:
        """End the W&B run."""
        self._try(lambda: self._tracker.finish())
        if self._failed:
            import wandb

            with suppress(Exception):  # it takes back its hook at exit, which would fail again there
                wandb.teardown()

    def _try(self, act: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:  # whatever W&B raises where its process is gone, or its files
            self._failed = True
            print(
                f"W&B has stopped ({first_line(error)}): training goes on without it; metrics.jsonl has every record",
                file=sys.stderr,
            )
