"""What a user can mend, as exceptions.

CharRNNError
├── ConfigError         a flag, a preset, or a combination of them
├── CorpusError         a text that is missing, empty, too short, undecodable, or not what its checksum says
├── VocabularyError     characters that a vocabulary lacks, or a vocabulary file that is not one
├── RunError            a run directory or a checkpoint that is unusable, full, or another run's
├── ModelFileError      an ONNX file that is corrupt, foreign, or of an unknown format version
├── HubError            a model of the Hub that is not there, not allowed, not reachable, or altered on the way
└── TrainingError       training that cannot go on: a loss that is not a number, a process that is lost

The message is one line: the value, the constraint, the remedy. Commands print it to stderr and exit with status 2.
"""

__all__ = [
    "CharRNNError",
    "ConfigError",
    "CorpusError",
    "HubError",
    "ModelFileError",
    "RunError",
    "TrainingError",
    "VocabularyError",
    "first_line",
    "not_installed",
    "reason",
]


class CharRNNError(Exception):
    """Base of every error that the user can mend."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the one line, as the commands do, and not the way to it."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(CharRNNError):
    """A flag, a preset, or a combination of them that cannot work."""


class CorpusError(CharRNNError):
    """A text that is missing, empty, too short, undecodable, or not what its checksum says."""


class VocabularyError(CharRNNError):
    """Characters that a vocabulary lacks, or a vocabulary file that is not one."""


class RunError(CharRNNError):
    """A run directory or checkpoint that is unusable, full, or belongs to another run."""


class ModelFileError(CharRNNError):
    """An ONNX file that is corrupt, foreign, or of an unknown format version."""


class HubError(CharRNNError):
    """A model of the Hub that is not there, not allowed, not reachable, or altered on the way."""


class TrainingError(CharRNNError):
    """Training that cannot go on, such as a loss that is not a number."""


def not_installed(error: ModuleNotFoundError, extra: str = "train") -> ConfigError | None:
    """What to say where an import found no module of somebody else's; None for one of ours."""
    name = (error.name or "charrnn").partition(".")[0]
    if name == "charrnn":
        return None
    what = f"charrnn[{extra}]" if extra else "charrnn"
    return ConfigError(f"{name} is not installed here, and this needs it: pip install '{what}'")


def first_line(error: BaseException) -> str:
    """The first line of the message of somebody else's `error`, to be part of a line of ours."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def reason(error: OSError | ValueError) -> str:
    """What the system, or Python before it was asked, has against a file or its name, to be part of a line of ours."""
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)
