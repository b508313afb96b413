"""The run directory: everything that is needed to resume, export or cite a run, under names that never change."""

import json
import os
import platform
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

import charrnn
from charrnn.config import TrainConfig, flat
from charrnn.errors import CharRNNError, ConfigError, RunError
from charrnn.files import looking_at, write_atomically
from charrnn.runs.earlier import as_today
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["Claim", "RunDirectory", "as_json", "claim", "find_run", "precision_of", "unnamed_runs"]

MAY_CHANGE = frozenset(
    {
        *("run_dir", "resume", "minutes", "epochs", "max_steps", "threads", "process_timeout", "stop_signal", "log"),
        *("evaluate_every", "checkpoint_every", "checkpoint_minutes", "keep_checkpoints", "patience"),
        "model.recurrence",
    }
)
"""Settings that a resumed run may have otherwise than before; `text.corpus` may too, if the text is the same."""
_LOCK = ".lock"
_RUNS = Path("runs")
"""Where a run is that nobody has given a directory."""


class RunDirectory:
    """Paths inside one run's directory, and the claim on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.vocabulary = path / "vocabulary.json"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.txt"
        self.plot = path / "loss.png"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model.onnx"
        self._lock = FileLock(path / _LOCK, timeout=0)

    def resumes(self, config: TrainConfig) -> bool:
        """Whether `config` continues the run that is here; False: a new run may be made here.

        Raises RunError where neither may be.
        """
        if self.config.exists():
            if config.resume == "never":
                raise RunError(
                    f"{self.path}: holds a run already: give --resume auto to continue it, or name another --run-dir"
                )
            self._check_same_run(config)
            return True
        if config.resume not in ("auto", "never"):
            raise RunError(f"{self.path}: holds no run (no config.json): start one with --resume auto")
        for parent in self.path.parents:
            if parent.exists() and not parent.is_dir():
                raise RunError(f"{parent}: is a file, so {self.path} cannot be made: name another --run-dir")
        if self.path.exists() and not (self.path.is_dir() and all(map(self._is_unfinished, self.path.iterdir()))):
            raise RunError(f"{self.path}: exists and is not a run: name another --run-dir")
        return False

    def _is_unfinished(self, path: Path) -> bool:
        """Whether a process that was killed before it had made a run leaves this."""
        return path.name == _LOCK or path.name.startswith(f".{self.config.name}.")

    def settled(self, config: TrainConfig) -> dict[str, Any]:
        """The settings that the run here has in place of `config`'s: what no flag has given, its minutes' choice."""
        known = flat(as_json(config))
        before = {name: value for name, value in flat(self.read_description()["config"]).items() if name in known}
        names = {"behaviour", "left_open"}
        if config.given is not None and before.get("preset") == config.preset:  # which a later release may have changed
            names |= {name for name in before if not _may_change(name)} - {"text.corpus", *config.given}
        chosen = before.get("left_open")
        if isinstance(chosen, list) and before.get("minutes") and config.minutes:
            names |= set(map(str, chosen)) & config.open_settings
        settings = {name: value for name, value in before.items() if name in names}
        try:
            config.changed(settings)
        except (ConfigError, TypeError, ValueError) as error:
            raise RunError(f"{self.config}: holds settings that no run has: restore it from a copy") from error
        return settings

    def lock(self) -> None:
        """Claim the directory for this process until it ends. Raises RunError where another process has it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise RunError(
                f"{self.path}: another process is training there: wait for its end, or name another --run-dir"
            ) from None
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror}): name another --run-dir") from error

    def claim_new(self) -> None:
        """Claim the directory for a new run. Raises RunError where another process was faster."""
        self.lock()
        if self.config.exists():
            raise RunError(f"{self.path}: another process has just made a run there: name another --run-dir")

    def unlock(self) -> None:
        """Let others have the directory."""
        self._lock.release()

    def changes(self, config: TrainConfig) -> str:
        """What a resumed run may have otherwise than before, and has: 'epochs 10 -> 20'. Asked before `describe`."""
        differences = self._differences(config)
        return _listed({name: values for name, values in differences.items() if name not in ("run_dir", "resume")})

    def describe(
        self,
        config: TrainConfig,
        text: dict[str, Any],
        vocabulary: Vocabulary,
        normaliser: Normaliser,
        *,
        recurrence: str,
    ) -> None:
        """Write config.json (settings, backend, text, versions) and vocabulary.json (characters, normaliser).

        Raises RunError where the directory cannot be written.
        """
        identity = self.identity() if self.config.exists() else secrets.token_hex(4)
        tools = {name: version(name) for name in ("torch", "accelerate", "datasets", "numpy")}
        description = {
            "charrnn": charrnn.__version__,
            "id": identity,
            "config": asdict(config),
            "recurrence": recurrence,
            "text": text,
            "environment": {"python": platform.python_version(), "platform": platform.platform(), **tools},
        }
        both = {"vocabulary": vocabulary.to_dict(), "normaliser": normaliser.to_list()}
        # config.json first: it makes the directory a run, which goes on whatever happens next.
        write_atomically(self.config, _readable_json(description))
        write_atomically(self.vocabulary, _readable_json(both))

    def read_description(self) -> dict[str, Any]:
        """What `describe` put into config.json, its settings with today's names.

        Raises RunError where it is not there, or not that, or a newer charrnn's.
        """
        try:
            description: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"{self.path}: holds no run (no config.json): start one with --resume auto") from error
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.config}: cannot be read ({error}): restore it from a copy") from error
        if not _is_description(description):
            raise RunError(f"{self.config}: is not a charrnn run's: restore it from a copy, or name another --run-dir")
        description["config"] = as_today(description["config"])
        if description["config"]["behaviour"] not in range(1, TrainConfig.behaviour + 1):
            raise RunError(
                f"{self.config}: behaviour is {description['config']['behaviour']!r}, and this charrnn has 1 to "
                f"{TrainConfig.behaviour}: install the charrnn that wrote it, or name another --run-dir"
            )
        return description

    def identity(self) -> str:
        """The name that this run keeps through all its resumptions, whatever the directory is called."""
        return str(self.read_description()["id"])

    def read_vocabulary(self) -> tuple[Vocabulary, Normaliser]:
        """The vocabulary and the normaliser of the run."""
        try:
            both = json.loads(self.vocabulary.read_text(encoding="utf-8"))
            return Vocabulary.from_dict(both["vocabulary"]), Normaliser.from_list(both["normaliser"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, CharRNNError) as error:
            raise RunError(f"{self.vocabulary}: cannot be read ({error}): restore it from a copy") from error

    def _check_same_run(self, config: TrainConfig) -> None:
        wrong = {name: values for name, values in self._differences(config).items() if not _may_change(name)}
        if wrong:
            raise RunError(
                f"{self.path}: holds another run ({_listed(wrong)}): give the same settings, or another --run-dir"
            )

    def _differences(self, config: TrainConfig) -> dict[str, tuple[Any, Any]]:
        """Settings, by name, that the run here and `config` have otherwise, as (here, config)."""
        before, now = flat(self.read_description()["config"]), flat(as_json(config.changed(self.settled(config))))
        # The text itself is compared, and what was given by flags differs where they say what the run has anyway.
        names = sorted((before.keys() | now.keys()) - {"preset", "text.corpus", "given"})
        return {name: (before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)}


def _may_change(name: str) -> bool:
    return name in MAY_CHANGE or name.split(".")[0] in MAY_CHANGE


@dataclass(frozen=True)
class Claim:
    """The directory of a run, whether the run is there already, and from which checkpoint it goes on if named."""

    directory: RunDirectory
    resumes: bool
    checkpoint: Path | None
    settled: dict[str, Any]
    """See `RunDirectory.settled`; empty for a new run."""

    def recurrence(self) -> str:
        """The backend that a resumed run had, as far as is known."""
        return str(self.directory.read_description().get("recurrence", "")) if self.resumes else ""

    def words(self) -> list[str]:
        """What `of` makes a claim of, on a process that has not made it."""
        checkpoint = str(self.checkpoint or "")
        return [str(self.directory.path), "resumes" if self.resumes else "", checkpoint, json.dumps(self.settled)]

    @classmethod
    def of(cls, words: list[str]) -> Self:
        """The claim of another process, without its lock."""
        path, resumes, checkpoint, settled = words
        directory, named = RunDirectory(Path(path)), Path(checkpoint) if checkpoint else None
        return cls(directory, bool(resumes), named, json.loads(settled))


def claim(config: TrainConfig) -> Claim:
    """Choose the run directory as `run_dir` and `resume` say; one that holds a run is locked, a new one not made yet.

    A mistake found later leaves nothing behind. Raises ConfigError or RunError where the wish cannot be met.
    """
    checkpoint = None
    if config.resume not in ("auto", "never", "must"):
        directory, checkpoint = find_run(config.resume, "resume is {}: it must be auto, never, must,")
        if config.run_dir and Path(config.run_dir).absolute() != directory.path.absolute():
            raise ConfigError(
                f"resume is {config.resume}, run_dir {config.run_dir}: leave --run-dir out, or name the same"
            )
    elif config.run_dir:
        directory = RunDirectory(Path(config.run_dir))
    elif config.resume == "must":
        raise ConfigError("--resume must needs --run-dir: name the directory of the run that is to go on")
    elif int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        raise ConfigError("--max_restarts needs --run-dir: a restarted run must find its directory again")
    else:
        directory = RunDirectory(_unnamed_run(config.preset))
    with looking_at(directory.path):
        resumes = directory.resumes(config)
    if resumes:
        directory.lock()
    return Claim(directory, resumes, checkpoint, directory.settled(config) if resumes else {})


def _unnamed_run(preset: str) -> Path:
    """A directory that is not there, for a run of `preset`; short runs may begin in the same second."""
    name = f"{preset}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next((_RUNS / each for each in names if not (_RUNS / each).exists()), _RUNS / name)


def unnamed_runs(preset: str) -> list[Path]:
    """What may be runs of `preset` that `claim` has named, the newest first."""
    return sorted(_RUNS.glob(f"{preset}-[0-9]*-[0-9]*"), reverse=True)


def precision_of(config: TrainConfig) -> str:
    """That of the run which `config` continues, as far as this process sees it, else the config's own.

    Asked before there are processes that could agree. What is wrong with the run, `claim` will say.
    """
    named = config.run_dir if config.resume in ("auto", "never", "must") else config.resume
    with suppress(CharRNNError, OSError):
        if named:
            directory, _ = find_run(named, "{}")
            return str(directory.settled(config).get("mixed_precision", config.mixed_precision))
    return config.mixed_precision


def find_run(word: str, complaint: str) -> tuple[RunDirectory, Path | None]:
    """The run that `word` names and, where it names one of the run's checkpoints, that.

    Raises RunError, which begins with `complaint` about the word.
    """
    path = Path(word)
    with looking_at(path):
        if path.absolute().parent.name == "checkpoints" and path.name.startswith("step-") and path.is_dir():
            named = path if path.parent.name else path.absolute()  # 'step-1' has no parents where we stand beside it
            return RunDirectory(named.parent.parent), path
        if (path / "config.json").is_file():
            return RunDirectory(path), None
    raise RunError(f"{complaint.format(repr(word))} a run directory or one of its checkpoints")


def _is_description(value: Any) -> bool:
    """Whether `value` has what those who read config.json take from it."""
    needed = {"config": {"preset", "model"}, "text": {"sha256", "description"}}
    return (
        isinstance(value, dict)
        and value.keys() >= {"charrnn", "id"}
        and all(isinstance(value.get(name), dict) and value[name].keys() >= keys for name, keys in needed.items())
        and isinstance(value["config"]["model"], dict)
    )


def _readable_json(value: dict[str, Any]) -> bytes:
    """As UTF-8. What is none in a file's name, which Python has as a lone surrogate, becomes JSON's own escape."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode(errors="backslashreplace")


def as_json(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON has them: tuples are lists."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return settings


def _listed(differences: dict[str, tuple[Any, Any]]) -> str:
    # A name may come from a spoilt config.json: as ASCII it is part of one line, whatever it is.
    return ", ".join(f"{ascii(name)[1:-1]} {before!r} -> {now!r}" for name, (before, now) in differences.items())
