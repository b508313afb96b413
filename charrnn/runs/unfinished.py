"""The run that the same command, or the same call, left unfinished where it named no directory."""

from charrnn.config import TrainConfig
from charrnn.errors import CharRNNError
from charrnn.files import looking_at
from charrnn.runs.directory import Claim, RunDirectory, unnamed_runs
from charrnn.runs.metrics import MetricsFile

__all__ = ["claim_unfinished"]


def claim_unfinished(config: TrainConfig, sha256: str) -> Claim | None:
    """The newest run of `config` on the text of `sha256` that is not at its end, locked; None where there is none.

    It is one that charrnn named, of the same preset with the same settings. One that is damaged, or that another
    process trains, is not meant.
    """
    for path in unnamed_runs(config.preset):
        directory = RunDirectory(path)
        try:
            with looking_at(path):
                if _is_of(directory, config, sha256):
                    directory.lock()
                    return Claim(directory, resumes=True, checkpoint=None, settled=directory.settled(config))
        except CharRNNError:
            continue
    return None


def _is_of(directory: RunDirectory, config: TrainConfig, sha256: str) -> bool:
    if not directory.config.is_file():
        return False
    description = directory.read_description()
    settings = description["config"]
    return (
        description["text"]["sha256"] == sha256
        and settings["preset"] == config.preset
        and settings.get("given") is not None
        and {*settings["given"], "resume"} == {*(config.given or ()), "resume"}
        and not directory.changes(config)
        and directory.settled(config).get("mixed_precision", config.mixed_precision) == config.mixed_precision
        and not _is_finished(directory)
    )


def _is_finished(directory: RunDirectory) -> bool:
    ended = any("best_step" in record for record in MetricsFile(directory.metrics).read())
    return ended and directory.model.is_file()
