"""A model in the form in which others keep theirs: a folder, or a repository of the Hub, with three files.

`config.json` says what the model is, `model.safetensors` holds its parameters, `vocabulary.json` the characters and the
normaliser. Nothing is unpickled.
"""

import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

import charrnn
from charrnn import model as charrnn_model
from charrnn.errors import ConfigError, HubError, RunError, first_line
from charrnn.files import looking_at, write_atomically
from charrnn.hub import HubAddress, check_files, fetch_folder, is_address
from charrnn.model import ModelConfig
from charrnn.runs.directory import RunDirectory
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["CharRNN", "Pretrained", "is_pretrained", "pretrained_files", "read_pretrained"]

CONFIG, WEIGHTS, VOCABULARY = "config.json", "model.safetensors", "vocabulary.json"
FORMAT_VERSION = 1
"""Of config.json; grows when a reader of the older one would misread the newer one."""
_OF_THE_MACHINE = ("recurrence", "initialisation")
"""Settings of a model that say nothing of what it computes."""


class CharRNN(charrnn_model.CharRNN):
    """`charrnn.model.CharRNN`, from and to a folder or the Hub, for those who go on in PyTorch.

        model = charrnn.CharRNN.from_pretrained("hf://OWNER/NAME")
        tokens = torch.from_numpy(model.vocabulary.encode("the text"))[None]
        logits, states = model(tokens)
        model.save_pretrained("tuned")

    Dimensions: B batch, T time, V vocabulary.
    """

    vocabulary: Vocabulary | None = None
    """The V characters and their ids, where they are known."""
    normaliser: Normaliser | None = None
    """What was done to the text that it was trained on."""

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], *, revision: str = "") -> Self:
        """The model of a folder, a run directory, `hf://OWNER/NAME[@REVISION]` or OWNER/NAME, on the CPU, for scoring.

        revision: branch, tag or commit on the Hub. Call `.train()` to go on training. Raises RunError, HubError.
        """
        pretrained = read_pretrained(source, revision=revision)
        model = cls(pretrained.config)
        try:
            model.load_state_dict(pretrained.tensors)
        except RuntimeError as error:
            raise _mixed(source) from error
        model.vocabulary, model.normaliser = pretrained.vocabulary, pretrained.normaliser
        return model.eval()

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the files that `from_pretrained` reads into `folder`, which is made where it is not there.

        Raises RunError where it cannot be written.
        """
        files = pretrained_files(self.config, self.state_dict(), self.vocabulary, self.normaliser)
        for name, data in files.items():
            write_atomically(Path(folder) / name, data)


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What the files say."""

    config: ModelConfig
    """The model's sizes."""
    tensors: dict[str, Tensor]
    """Its parameters, by their names in CharRNN."""
    vocabulary: Vocabulary | None
    """The characters of its rows; None where the folder does not say."""
    normaliser: Normaliser | None
    """What was done to the corpus; None where the folder does not say."""


def pretrained_files(
    config: ModelConfig, tensors: dict[str, Tensor], vocabulary: Vocabulary | None, normaliser: Normaliser | None
) -> dict[str, bytes]:
    """The contents of the files, by name; config.json, which makes them a model, comes last."""
    portable = {name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}
    files = {WEIGHTS: save(portable, metadata={"format": "pt"})}
    if vocabulary is not None:
        both = {"vocabulary": vocabulary.to_dict(), "normaliser": (normaliser or Normaliser.from_list([])).to_list()}
        files[VOCABULARY] = as_bytes(both)
    sizes = {name: value for name, value in asdict(config).items() if name not in _OF_THE_MACHINE}
    kind = {"model_type": "charrnn", "architectures": ["CharRNN"], "format_version": FORMAT_VERSION}
    files[CONFIG] = as_bytes({"charrnn": charrnn.__version__, **kind, "model": sizes})
    return files


def as_bytes(value: dict[str, Any]) -> bytes:
    """As readable JSON, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False).encode()


def is_pretrained(path: Path) -> bool:
    """Whether `path` is a folder of these files, and no checkpoint of a run, which has some of the same names."""
    with looking_at(path):
        return (path / WEIGHTS).is_file() and (path / CONFIG).is_file() and not (path / "manifest.json").is_file()


def read_pretrained(source: str | os.PathLike[str], *, revision: str = "") -> Pretrained:
    """Read a folder, a run directory (its best checkpoint), one of its checkpoints, or a model of the Hub.

    Raises RunError or HubError where it is none, or damaged.
    """
    path = Path(source)
    if not is_address(source):
        if is_pretrained(path):
            return _read(path, str(source))
        if path.exists():
            return _of_run(path)
    address = _address(str(source), revision)
    return _read(fetch_folder(address, needed=(CONFIG, WEIGHTS), wanted=(VOCABULARY,)), str(address))


def _address(source: str, revision: str) -> HubAddress:
    address = HubAddress.parse(source) if is_address(source) else HubAddress.of_repository(source)
    if address.file or (revision and address.revision):
        raise HubError(f"{source}: name the repository, and its revision once: hf://OWNER/NAME@REVISION")
    return HubAddress.parse(f"hf://{address.repository}@{revision}") if revision else address


def _of_run(path: Path) -> Pretrained:
    from charrnn.runs.choice import find_checkpoint
    from charrnn.runs.export_run import load_model
    from charrnn.runs.messages import warn

    complaint = "the model is {}: it must be a pretrained folder, hf://OWNER/NAME,"
    directory, checkpoint = find_checkpoint(str(path), complaint, partial(warn, speaker="charrnn"))
    model = load_model(directory, checkpoint, recurrence="auto")
    vocabulary, normaliser = directory.read_vocabulary()
    return Pretrained(config=model.config, tensors=checkpoint.model, vocabulary=vocabulary, normaliser=normaliser)


def _read(folder: Path, source: str) -> Pretrained:
    check_files(folder, (CONFIG, WEIGHTS, VOCABULARY), source)
    config = _config(folder / CONFIG, source)
    try:
        tensors = load((folder / WEIGHTS).read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{source}: its {WEIGHTS} cannot be read ({first_line(error)}): get it again") from error
    if not _fits(config, tensors):
        raise _mixed(source)
    described = (folder / VOCABULARY).is_file()
    vocabulary, normaliser = RunDirectory(folder).read_vocabulary() if described else (None, None)
    if vocabulary is not None and len(vocabulary) != config.vocabulary_size:
        raise RunError(
            f"{source}: its {VOCABULARY} has {len(vocabulary)} characters, the model {config.vocabulary_size}: "
            "get both again"
        )
    return Pretrained(config=config, tensors=tensors, vocabulary=vocabulary, normaliser=normaliser)


def _fits(config: ModelConfig, tensors: dict[str, Tensor]) -> bool:
    """Whether the sizes are those of the weights: a wrong one could ask for more memory than there is."""
    V, E, H = config.vocabulary_size, config.embedding_size, config.hidden_size
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    layers = sum(name.startswith("W_h") for name in shapes)
    return (shapes.get("embedding.weight"), shapes.get("fc.weight"), layers) == ((V, E), (V, H), config.num_layers)


def _mixed(source: str | os.PathLike[str]) -> RunError:
    return RunError(f"{source}: {CONFIG} and {WEIGHTS} are of different models: get both again")


def _config(file: Path, source: str) -> ModelConfig:
    try:
        said = json.loads(file.read_bytes())
        if type(said["format_version"]) is not int or said["format_version"] > FORMAT_VERSION:
            raise RunError(
                f"{source}: is of format {said['format_version']!r}, and this charrnn reads {FORMAT_VERSION}: "
                "install a newer charrnn"
            )
        return ModelConfig(**said["model"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError) as error:
        raise RunError(f"{source}: its {CONFIG} describes no charrnn model: name another one") from error
