"""The built-in corpora: what can be trained on without having a file."""

import sysconfig
from collections.abc import Callable
from pathlib import Path

from charrnn.text.download import Download
from charrnn.text.sources import Part, file_part, files_below

__all__ = ["DOWNLOADS", "LOCAL", "TINY_SHAKESPEARE", "WAR_AND_PEACE"]

# The novel as character models have used it since char-rnn: without Gutenberg's own pages. The address is of one
# commit, so its bytes stay; they begin with a byte order mark, and a carriage return ends each line.
WAR_AND_PEACE = Download(
    address="https://raw.githubusercontent.com/ThingsOfBeam/Corpus/9aad26592097f5ac852cb11b60bf250f01a39fca/warpeace_input.txt",
    sha256="0139dcd32c37853541e8710281c32d823bb8ea86a86578916305bad06e3da0ea",
    encoding="utf-8-sig",
    line_end=b"\r",
)
TINY_SHAKESPEARE = Download(
    address="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    encoding="utf-8",
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
    paths, _ = files_below(Path(sysconfig.get_path("stdlib")), without=_NOT_LIBRARY)
    return [file_part(path, encoding="utf-8") for path in paths if path.suffix == ".py"]


LOCAL: dict[str, Callable[[], list[Part]]] = {"alphabet": _alphabet, "python-stdlib": _python_stdlib}
"""Built-in corpora that are already on the machine."""
