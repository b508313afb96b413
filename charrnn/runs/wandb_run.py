"""The W&B run: a view of metrics.jsonl."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from accelerate.tracking import WandBTracker

from charrnn.errors import ConfigError, RunError, first_line
from charrnn.runs.messages import warn
from charrnn.runs.metrics import Record

__all__ = ["WandB", "wandb_mode"]

INIT_TIMEOUT_SECONDS = 20
_MODES = ("online", "offline", "disabled")


def wandb_mode(asked: str, project: str) -> str:
    """Decide between online, offline and disabled before W&B is started, since it would ask or wait.

    `auto` is WANDB_MODE where that is set, online where W&B finds a login, else offline. Raises ConfigError for
    `online` without a login, for a WANDB_MODE that wandb does not know, and for a project's name that it refuses.
    """
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted not in ("", *_MODES, "shared", "dryrun", "run"):  # wandb would not start, whatever was asked of us
        raise ConfigError(f"WANDB_MODE is {wanted!r}: it must be one of {', '.join(_MODES)}")
    chosen = wanted if asked == "auto" else asked
    if chosen == "disabled":
        return chosen
    _check_project(project)
    if chosen not in _MODES:
        return "online" if _logged_in() else "offline"
    if chosen == "online" and not _logged_in():
        who = "WANDB_MODE" if asked == "auto" else "log.wandb"
        raise ConfigError(f"{who} is online, but there is no W&B login here: run `wandb login`, or use offline")
    return chosen


def _check_project(project: str) -> None:
    import wandb

    try:
        project.encode()
        wandb.Settings(project=project)
    except (UnicodeEncodeError, wandb.Error) as error:
        raise ConfigError(
            f"log.project is {project!r}: W&B refuses it ({first_line(error)}): choose another"
        ) from error


def _logged_in() -> bool:
    """Whether W&B itself finds a login, in whichever of its places."""
    import wandb

    try:  # not public, but the public wandb.login would greet the user, which takes a network
        from wandb.sdk import wandb_setup
        from wandb.sdk.lib import wbauth
    except ImportError:  # a later wandb keeps it elsewhere: the key in the environment is the place that will last
        return bool(os.environ.get("WANDB_API_KEY"))
    try:
        Path.home()  # where this fails, W&B's settings are half read, and stay so
        host = wandb_setup.singleton().settings.base_url
        login = wbauth.authenticate_session(host=host, source="charrnn", prompt=False, update_session=False)
    except (wandb.Error, ValueError) as error:  # a key or an address that cannot be one
        raise ConfigError(f"W&B refuses its own settings ({first_line(error)}): mend them, or disable it") from error
    except (RuntimeError, OSError):  # without a home directory, or with one that is closed, there is no login
        return False
    return login is not None


class WandB:
    """A W&B run through accelerate's tracker; the metrics' own `step` is the axis, so going back loses nothing.

    W&B is a view: where it fails, that is said once and training goes on without it. Raises RunError only where it was
    asked for by name and does not start.
    """

    def __init__(self, *, asked: str, project: str, run_dir: Path, run_id: str, config: dict[str, Any]) -> None:
        self.mode = wandb_mode(asked, project)
        self._tracker: WandBTracker
        self._failed = False
        if self.mode == "disabled":
            return
        try:
            self._start(project, run_dir, run_id, config)
        except Exception as error:  # wandb raises its own kinds, and others, for a network that is not there
            if asked != "auto":
                another = "offline" if self.mode == "online" else "disabled"
                raise RunError(f"W&B did not start ({first_line(error)}): try --log.wandb {another}") from error
            if self.mode == "online":
                warn(f"W&B is not reachable ({first_line(error)}): logging offline")
                self.mode = "offline"
                self._try(lambda: self._start(project, run_dir, run_id, config), "did not start")
            else:
                self._go_on_without("did not start", error)

    def _start(self, project: str, run_dir: Path, run_id: str, config: dict[str, Any]) -> None:
        import wandb

        # W&B takes UTF-8 alone. Of the command line it makes a note; in another directory it would fail half-way.
        sys.argv = [word.encode(errors="replace").decode() for word in sys.argv]
        str(run_dir.absolute()).encode()
        Path.home()  # W&B keeps things there
        settings = wandb.Settings(init_timeout=INIT_TIMEOUT_SECONDS, console="off", silent=True)
        # Online, a resumed run goes on in its own curve. Offline, each start is a run of its own, all in one group:
        # files of one run that are sent one after another would replace each other.
        same = {"id": run_id, "resume": "allow"} if self.mode == "online" else {"group": run_dir.name}
        place = {"dir": str(run_dir), "name": run_dir.name}
        tracker = WandBTracker(project, mode=self.mode, settings=settings, **place, **same)
        tracker.start()
        tracker.store_init_configuration(_as_utf8(config))
        tracker.run.define_metric("*", step_metric="step")
        self._tracker = tracker

    def log(self, record: Record) -> None:
        """Log a record of metrics.jsonl under the same names, its sample as a table of one row: step, text.

        W&B shows the tables of a run's steps as one; a table of all samples so far would grow with their number.
        """
        self._try(lambda: self._log(record))

    def _log(self, record: Record) -> None:
        import wandb

        step = record["step"]
        self._tracker.log({name: value for name, value in record.items() if name != "sample"})
        if "sample" in record:
            table = wandb.Table(columns=["step", "text"], data=[[step, record["sample"]]])
            self._tracker.log({"samples": table, "step": step})

    def finish(self, results: Mapping[str, Any], model: Path) -> None:
        """Record the results; the ONNX file goes along as an artifact where online."""
        self._try(lambda: self._finish(results, model))

    def _finish(self, results: Mapping[str, Any], model: Path) -> None:
        import wandb

        self._tracker.run.summary.update(_as_utf8(dict(results)))
        if self.mode == "online":
            # Not the directory's name, which may have characters that an artifact's may not.
            artifact = wandb.Artifact(f"run-{self._tracker.run.id}-model", type="model")
            artifact.add_file(str(model))
            self._tracker.run.log_artifact(artifact)

    def close(self) -> None:
        """End the W&B run."""
        self._try(lambda: self._tracker.finish())
        if self._failed:
            import wandb

            with suppress(Exception):  # it takes back its hook at exit, which would fail again there
                wandb.teardown()

    def _try(self, act: Callable[[], object], otherwise: str = "has stopped") -> None:
        if self.mode == "disabled":
            return
        try:
            act()
        except Exception as error:  # whatever W&B raises where its process is gone, or its files
            self._go_on_without(otherwise, error)

    def _go_on_without(self, what: str, error: Exception) -> None:
        self.mode, self._failed = "disabled", True
        warn(f"W&B {what} ({first_line(error)}): training goes on without it; metrics.jsonl has every record")


def _as_utf8(values: dict[str, Any]) -> dict[str, Any]:
    """JSON-able `values` with what is not UTF-8 in a file's name as question marks: W&B takes nothing else."""
    clean: dict[str, Any] = json.loads(json.dumps(values, ensure_ascii=False).encode(errors="replace"))
    return clean
