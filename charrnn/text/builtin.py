"""The built-in corpora: what can be trained on without having a file."""

import sysconfig
from collections.abc import Callable
from pathlib import Path

from charrnn.text.download import Download
from charrnn.text.files import Part, file_part, files_below

__all__ = ["DOWNLOADS", "LOCAL", "TINY_SHAKESPEARE", "WAR_AND_PEACE"]

WAR_AND_PEACE = Download(
    address="https://www.gutenberg.org/",
    sha256="e9d70cc7d26da7bb53c09a90844647f75cd2ef081b6aa358290a8cf7184d889b",
)
TINY_SHAKESPEARE = Download(
    address="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
DOWNLOADS = {"war-and-peace": WAR_AND_PEACE, "tiny-shakespeare": TINY_SHAKESPEARE}
"""Built-in corpora that are fetched once."""

_ALPHABET = b"abcdefghijklmnopqrstuvwxyz" * 100
# What is installed beside the library, and its tests, which are larger than the library itself.
_NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def _alphabet() -> list[Part]:
    return [Part(name="alphabet", blocks=lambda: iter([_ALPHABET]), size_bytes=len(_ALPHABET), encoding="ascii")]


def _python_stdlib() -> list[Part]:
    """The running interpreter's own library sources: real text that is on every machine, about 11 MB."""
    paths = files_below(Path(sysconfig.get_path("stdlib")), without=_NOT_LIBRARY)
    return [file_part(path, encoding="utf-8") for path in paths if path.suffix == ".py"]


LOCAL: dict[str, Callable[[], list[Part]]] = {"alphabet": _alphabet, "python-stdlib": _python_stdlib}
"""Built-in corpora that are already on the machine."""
