"""The corpus: the user's words, resolved to parts that can be read several times."""

import difflib
import glob
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.builtin import DOWNLOADS, LOCAL
from charrnn.text.decoding import decode_blocks, marked_encoding
from charrnn.text.download import Download, fetch
from charrnn.text.packed import is_packed, unpacked
from charrnn.text.settings import TextConfig
from charrnn.text.sources import (
    Part,
    file_part,
    files_below,
    is_run_directory,
    looks_binary,
    printable,
    spooled_part,
)

__all__ = ["Corpus", "open_corpus"]

_MOST_NAMED = 3  # words that a description spells out
_LONG = 200  # characters of a word that an error repeats


@dataclass(kw_only=True)
class Corpus:
    """A text in parts, one after another with nothing between. Close it (`with`) to remove what was spooled."""

    parts: tuple[Part, ...]
    settings: TextConfig
    """What was asked for; it says how the parts are decoded."""
    description: str
    """One line: what the user named, and how many files that is."""
    skipped_files: int = 0
    """Binary files that were passed over in directories."""
    skipped_runs: int = 0
    """Run directories that were passed over: what training writes is not what it reads."""
    resources: ExitStack = field(default_factory=ExitStack, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.resources.close()

    @property
    def size_bytes(self) -> int | None:
        """Bytes of all parts; None if one does not know."""
        sizes = [part.size_bytes for part in self.parts]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @cached_property
    def is_packed(self) -> bool:
        """Whether there are compressed parts."""
        return any(is_packed(part.blocks()) for part in self.parts)

    def text(
        self, *, watch: Callable[[bytes], None], watch_unpacked: Callable[[bytes], None] | None = None
    ) -> Iterator[str]:
        """Yield the text in chunks; show every block of bytes to `watch`, and to `watch_unpacked` what is in it.

        Raises CorpusError for bytes that are not of the encoding, unless `encoding_errors` passes over them, and for
        compressed parts that are damaged.
        """
        errors = self.settings.encoding_errors
        for part in self.parts:
            blocks = unpacked(_watched(part.blocks(), watch), part.name)
            if watch_unpacked:
                blocks = _watched(blocks, watch_unpacked)
            encoding = part.encoding or self.settings.encoding
            yield from decode_blocks(blocks, name=part.name, encoding=encoding, errors=errors)


def _watched(blocks: Iterator[bytes], watch: Callable[[bytes], None]) -> Iterator[bytes]:
    for block in blocks:
        watch(block)
        yield block


def open_corpus(
    settings: TextConfig, *, cache_dir: Path, progress: bool, downloads: Mapping[str, Download] = DOWNLOADS
) -> Corpus:
    """Resolve the words of `settings.corpus`, each of which is one of

    - the name of a built-in corpus (a file of that name is reached as ./NAME),
    - `-`, standard input,
    - an http(s) address, whose SHA-256 is `sha256`,
    - `hub:NAME` or `hub:NAME:CONFIGURATION`, a data set of the Hub or in a local directory (`column`, `hub_split`),
    - a file, a directory (every text file below it), or a glob pattern; run directories are passed over.

    `encoding` tells which files of a directory are text. Raises CorpusError if a word leads to no text, ConfigError if
    `sha256` does not fit the words.
    """
    _check_sha256(settings.corpus, settings.sha256)
    with ExitStack() as resources:
        opener = _Opener(
            settings=settings, cache_dir=cache_dir, progress=progress, downloads=downloads, resources=resources
        )
        parts = tuple(part for word in settings.corpus for part in opener.parts(word))
        description = _describe(settings.corpus, len(parts), opener)
        if not parts:
            raise CorpusError(
                f"{description}: no text but what runs wrote; to go on with a run, give its own text and --resume DIR, "
                "to train on what one wrote, name its samples.txt"
            )
        return Corpus(
            parts=parts,
            settings=settings,
            description=description,
            skipped_files=opener.skipped_files,
            skipped_runs=len(opener.runs),
            resources=resources.pop_all(),
        )


def _is_address(word: str) -> bool:
    return word.startswith(("http://", "https://"))


def _check_sha256(corpus: tuple[str, ...], sha256: str) -> None:
    if not all(corpus) or not corpus:
        raise ConfigError("no corpus is named; name a file, a directory, or a built-in such as alphabet")
    addresses = [word for word in corpus if _is_address(word)]
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"--text.sha256 {sha256!r} is no SHA-256: that is 64 hexadecimal digits")
    if sha256 and len(addresses) != 1:
        raise ConfigError(f"--text.sha256 is for a corpus with one address, and this one has {len(addresses)}")
    if addresses and not sha256:
        raise ConfigError(
            f"{addresses[0]}: an address needs its checksum: give --text.sha256 HEX "
            f"(curl -sL {addresses[0]} | sha256sum prints it)"
        )


def _describe(words: tuple[str, ...], num_parts: int, opener: "_Opener") -> str:
    named = ", ".join("standard input" if word == "-" else printable(word) for word in words[:_MOST_NAMED])
    if len(words) > _MOST_NAMED:
        named += f" and {len(words) - _MOST_NAMED} more"
    notes = [_number(num_parts, "file", "files")] if num_parts not in (0, len(words)) else []
    if opener.skipped_files:
        notes.append(f"{_number(opener.skipped_files, 'binary file', 'binary files')} skipped")
    if opener.runs:
        notes.append(f"{_number(len(opener.runs), 'run directory', 'run directories')} passed over")
    return f"{named} ({', '.join(notes)})" if notes else named


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


@dataclass(kw_only=True)
class _Opener:
    """Turns one word after another into parts."""

    settings: TextConfig
    cache_dir: Path
    progress: bool
    downloads: Mapping[str, Download]
    resources: ExitStack
    skipped_files: int = 0
    runs: set[Path] = field(default_factory=set)
    """Those that were passed over."""

    def parts(self, word: str) -> list[Part]:
        if word in LOCAL:
            return LOCAL[word]()
        if word in self.downloads:
            return [self._downloaded(self.downloads[word], name=word)]
        if word == "-":
            return [self._standard_input()]
        if _is_address(word):
            return [self._downloaded(Download(address=word, sha256=self.settings.sha256.lower()), name=word)]
        if word.startswith("hub:"):
            return [self._hub(word)]
        try:
            return self._path(word)
        except OSError as error:  # such as a name that is too long, or a directory that may not be entered
            shown = word if len(word) < _LONG else f"{word[:_LONG]}..."  # it may be the text itself, or a prompt
            raise CorpusError(f"{printable(shown)}: cannot be read: {error.strerror}") from error

    def _downloaded(self, download: Download, *, name: str) -> Part:
        path = fetch(download, cache_dir=self.cache_dir, progress=self.progress)
        part = file_part(path, name=name, encoding=download.encoding)
        if download.line_end == b"\n":
            return part
        return replace(part, blocks=lambda: (block.replace(download.line_end, b"\n") for block in part.blocks()))

    def _standard_input(self) -> Part:
        if sys.stdin is None or sys.stdin.closed:
            raise CorpusError("standard input is closed; pipe a text into it, or name a file")
        name = "standard input"
        return spooled_part(sys.stdin.buffer, name=name, directory=self.cache_dir, until=self.resources)

    def _hub(self, word: str) -> Part:
        from charrnn.text.hub import hub_part  # brings in datasets, which takes a second

        return hub_part(word, column=self.settings.column, split=self.settings.hub_split, cache_dir=self.cache_dir)

    def _path(self, word: str) -> list[Part]:
        path = Path(word)
        if path.is_dir():
            return self._directory(path)
        if path.is_file():
            return [file_part(path)]
        if path.exists():  # a pipe, such as the shell's <(command)
            return [self._pipe(path)]
        return self._matches(word)

    def _matches(self, pattern: str) -> list[Part]:
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute patterns)
        matches = [Path(match) for match in sorted(found) if Path(match).exists()]
        if not matches:
            raise CorpusError(_missing(pattern, [*LOCAL, *self.downloads]))
        around = {directory for match in matches for directory in (match, *match.parents) if directory.is_dir()}
        runs = {directory for directory in around if is_run_directory(directory)}
        self.runs |= {directory.resolve() for directory in runs}
        outside = [match for match in matches if runs.isdisjoint((match, *match.parents))]
        # By name: `**/*` matches directories, and the files in them again.
        return list({part.name: part for match in outside for part in self._path(str(match))}.values())

    def _directory(self, path: Path) -> list[Part]:
        files, runs = files_below(path)
        encoding = self.settings.encoding
        texts = [file for file in files if not looks_binary(file, encoding)]
        skipped = len(files) - len(texts)
        if not texts and not runs:
            number = _number(len(files), "file", "files")
            problem = f"{printable(str(path))}: no text in this directory ({number}, {skipped} of them binary)"
            for file in files:
                if (marked := marked_encoding(next(file_part(file).blocks(), b""))) and marked != encoding:
                    raise CorpusError(f"{problem}; {printable(str(file))} is of --text.encoding {marked}")
            raise CorpusError(problem)
        self.skipped_files += skipped
        self.runs |= {run.resolve() for run in runs}
        return [file_part(file) for file in texts]

    def _pipe(self, path: Path) -> Part:
        with path.open("rb") as source:
            return spooled_part(source, name=printable(str(path)), directory=self.cache_dir, until=self.resources)


def _missing(word: str, builtins: list[str]) -> str:
    """Say that nothing is called `word`, and what is called nearly so."""
    if glob.has_magic(word):
        return f"no file matches {printable(word)}"
    parent = Path(word).parent
    neighbours = [str(entry) for entry in parent.iterdir() if entry.exists()] if parent.is_dir() else []
    nearest = difflib.get_close_matches(word, [*builtins, *neighbours], n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"built-in corpora: {', '.join(builtins)}"
    return printable(f"{word}: no such file or directory; {hint}")
