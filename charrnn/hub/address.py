"""Addresses of models on the Hub: `hf://OWNER/NAME`, with a revision and a file where they are wanted."""

import os
import re
from dataclasses import dataclass
from typing import Self

from charrnn.errors import HubError

__all__ = ["HubAddress", "is_address"]

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPOSITORY = re.compile(f"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*")
_MOST_CHARS = 96
"""Of OWNER/NAME, by the Hub's own rule."""
_SHOWN_CHARS = 120


@dataclass(frozen=True, kw_only=True)
class HubAddress:
    """Where a model is on the Hub."""

    repository: str
    """OWNER/NAME."""
    revision: str = ""
    """A branch, a tag or a commit; empty: the newest commit of the main branch."""
    file: str = ""
    """Name of an ONNX file in it, such as model-int8.onnx; empty: the one that is meant without saying."""

    def __str__(self) -> str:
        revision, file = f"@{self.revision}" if self.revision else "", f"/{self.file}" if self.file else ""
        return f"hf://{self.repository}{revision}{file}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `hf://OWNER/NAME[@REVISION][/FILE.onnx]`. Raises HubError for anything else."""
        # Path makes one slash of two: an address that went through one is meant all the same.
        rest, file = re.sub("^hf:/+", "", text), ""
        if rest.endswith(".onnx") and rest.count("/") > 1:
            rest, _, file = rest.rpartition("/")
        repository, at, revision = rest.partition("@")
        fits = _is_repository(repository) and (not at or _REVISION.fullmatch(revision)) and ".." not in revision
        if not fits or (file and not re.fullmatch(_PART, file)):
            raise HubError(
                f"{_shown(text)} is no address of a model on the Hub: "
                "write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION for a branch, a tag or a commit"
            )
        return cls(repository=repository, revision=revision, file=file)

    @classmethod
    def of_repository(cls, name: str) -> Self:
        """The address of the repository OWNER/NAME, which may have hf:// before it. Raises HubError."""
        repository = name.removeprefix("hf://")
        if not _is_repository(repository):
            raise HubError(
                f"{_shown(name)} is no repository of the Hub: write OWNER/NAME, of letters, digits and -, _, . "
                f"({_MOST_CHARS} characters at most, neither -- nor ..)"
            )
        return cls(repository=repository)


def is_address(place: str | os.PathLike[str]) -> bool:
    """Whether `place` names a model on the Hub, rightly or wrongly written (a file called so is ./hf:...)."""
    return os.fspath(place).startswith("hf:/")


def _is_repository(name: str) -> bool:
    odd = "--" in name or ".." in name or name.endswith(".git")
    return bool(_REPOSITORY.fullmatch(name)) and len(name) <= _MOST_CHARS and not odd


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}...")
