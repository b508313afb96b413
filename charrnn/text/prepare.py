"""Preparation: a corpus becomes an encoded stream in the cache, once.

The corpus is read three times and never held: to hash it (the key of its cache entry), to find its characters, to
encode them. An entry is a directory that gets its name when it is complete: `ids.arrow` and `prepared.json`.
"""

import hashlib
import json
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.files import cache_dir as default_cache_dir
from charrnn.files import sync
from charrnn.text.cache import publish, using, workspace
from charrnn.text.codepoints import NUM_CODE_POINTS, code_points, text_of
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.decoding import ErrorPolicy, check_encoding
from charrnn.text.normaliser import Normaliser
from charrnn.text.progress import progress_bar
from charrnn.text.stream import EncodedStream
from charrnn.text.vocabulary import Vocabulary

__all__ = ["PreparedText", "find_prepared", "prepare"]

_VERSION = 1  # of a cache entry: entries of other versions are never looked at
_IDS = "ids.arrow"
_MANIFEST = "prepared.json"
_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedText:
    """A text that is ready for training."""

    stream: EncodedStream
    vocabulary: Vocabulary
    normaliser: Normaliser
    dropped: dict[str, int]
    """Characters that the normaliser removed or replaced, with counts, the most frequent first."""
    sha256: str
    """Of the bytes of the corpus."""
    description: str
    """What the user named, in one line."""
    path: Path
    """The cache entry."""
    fresh: bool
    """Whether it was made now, not found."""
    seconds: float
    """What it took, reading or making."""

    @classmethod
    def open(cls, path: Path, *, description: str, fresh: bool = False, seconds: float = 0.0) -> Self:
        """Open the cache entry `path` of a text prepared before, by this process or another."""
        manifest = json.loads((path / _MANIFEST).read_bytes())
        return cls(
            stream=EncodedStream.open(path / _IDS),
            vocabulary=Vocabulary.from_dict(manifest["vocabulary"]),
            normaliser=Normaliser.from_list(manifest["normaliser"]),
            dropped=manifest["dropped"],
            sha256=manifest["sha256"],
            description=description,
            path=path,
            fresh=fresh,
            seconds=seconds,
        )


def prepare(
    corpus: tuple[str, ...],
    *,
    sha256: str = "",
    column: str = "text",
    hub_split: str = "train",
    encoding: str = "utf-8",
    encoding_errors: ErrorPolicy = "strict",
    normaliser: Normaliser = Normaliser(),  # noqa: B008 (immutable)
    vocabulary: Vocabulary | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
    chunk_bytes: int = _CHUNK_BYTES,
) -> PreparedText:
    """Prepare a corpus (see `open_corpus` for `corpus`, `sha256`, `column`, `hub_split`), or find it prepared.

    Without `vocabulary` the text's own characters make one. `chunk_bytes` is the size of a record batch on disk.
    Raises CorpusError, ConfigError, or VocabularyError for characters that a given vocabulary lacks.
    """
    started = time.perf_counter()
    check_encoding(encoding)
    cache_dir = cache_dir or default_cache_dir()
    with open_corpus(
        corpus, sha256=sha256, column=column, hub_split=hub_split, cache_dir=cache_dir, progress=progress
    ) as source:
        job = _Job(
            corpus=source,
            encoding=encoding,
            errors=encoding_errors,
            normaliser=normaliser,
            vocabulary=vocabulary,
            progress=progress,
            chunk_bytes=chunk_bytes,
        )
        content, key = job.identify()
        path = cache_dir / "prepared" / key
        fresh = not _is_complete(path)
        if fresh:
            _make(job, path, content)
    prepared = PreparedText.open(path, description=source.description, fresh=fresh)
    return replace(prepared, seconds=time.perf_counter() - started)


def find_prepared(
    sha256: str, vocabulary: Vocabulary, normaliser: Normaliser, *, length: int, cache_dir: Path | None = None
) -> PreparedText | None:
    """The text that was prepared from a corpus of this `sha256`, if the cache has it still; the corpus is not read."""
    expected = (sha256, length, vocabulary.to_dict(), normaliser.to_list())
    for path in sorted(((cache_dir or default_cache_dir()) / "prepared").glob("*")):
        if _is_complete(path):
            manifest = json.loads((path / _MANIFEST).read_bytes())
            if tuple(manifest.get(key) for key in ("sha256", "length", "vocabulary", "normaliser")) == expected:
                return PreparedText.open(path, description=sha256)
    return None


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A corpus and what is to be done with it."""

    corpus: Corpus
    encoding: str
    errors: ErrorPolicy
    normaliser: Normaliser
    vocabulary: Vocabulary | None
    progress: bool
    chunk_bytes: int

    def identify(self) -> tuple[str, str]:
        """Return the SHA-256 of the corpus, and the key of everything that the result depends on."""
        digest = hashlib.sha256()
        parts = []  # a character cannot run from one part into the next, so it matters where they meet
        with progress_bar("reading", self.corpus.size_bytes, progress=self.progress) as bar:
            for part in self.corpus.parts:
                size_bytes = 0
                for block in part.blocks():
                    digest.update(block)
                    bar.update(len(block))
                    size_bytes += len(block)
                parts.append((size_bytes, part.encoding))
        if not any(size_bytes for size_bytes, _ in parts):
            raise CorpusError(f"{self.corpus.description}: this text is empty; name one that has characters")
        content = digest.hexdigest()
        given = self.vocabulary.characters if self.vocabulary else None
        rules = [self.encoding, self.errors, self.normaliser.to_list(), given]
        # Lower case and normal forms come from Python's version of Unicode.
        key = json.dumps([_VERSION, unicodedata.unidata_version, content, parts, rules])
        return content, hashlib.sha256(key.encode()).hexdigest()

    def texts(
        self, label: str, *, digest: "hashlib._Hash | None" = None, dropped: Counter[str] | None = None
    ) -> Iterator[str]:
        """Yield the normalised text in chunks; `digest` gets the bytes, `dropped` what the normaliser drops."""
        with progress_bar(label, self.corpus.size_bytes, progress=self.progress) as bar:

            def watch(block: bytes) -> None:
                bar.update(len(block))
                if digest:
                    digest.update(block)

            chunks = self.corpus.text(encoding=self.encoding, errors=self.errors, watch=watch)
            yield from self.normaliser.stream(chunks, dropped)

    def find_vocabulary(self) -> Vocabulary:
        """Return the vocabulary of the normalised text. Raises CorpusError if nothing is left of it."""
        present = np.zeros(NUM_CODE_POINTS, dtype=np.bool_)
        for text in self.texts("finding characters"):
            counts = np.bincount(code_points(text))
            present[: len(counts)] |= counts > 0
        if not present.any():
            raise CorpusError(self._nothing_left())
        return Vocabulary(text_of(np.flatnonzero(present)))

    def _nothing_left(self) -> str:
        return f"{self.corpus.description}: the normaliser leaves nothing of it; choose another --text.normaliser"

    def encode(self, vocabulary: Vocabulary, path: Path, *, content: str) -> tuple[int, Counter[str]]:
        """Write the ids of the text to `path`; return how many they are, and what the normaliser dropped.

        Raises CorpusError if nothing is left, or if the bytes are no longer those whose SHA-256 is `content`.
        """
        from charrnn.text.arrow import write_ids  # brings in datasets, which takes a second

        digest, dropped = hashlib.sha256(), Counter[str]()

        def pieces() -> Iterator[NDArray[Any]]:
            position = 0
            for text in self.texts("encoding", digest=digest, dropped=dropped):
                yield vocabulary.encode(text, position=position)
                position += len(text)

        length = write_ids(path, pieces(), vocabulary.dtype, chunk_bytes=self.chunk_bytes)
        if not length:
            raise CorpusError(self._nothing_left())
        if digest.hexdigest() != content:
            raise CorpusError(f"{self.corpus.description}: it was changed while it was being read; start again")
        return length, dropped


def _make(job: _Job, path: Path, content: str) -> None:
    """Make the cache entry `path`, or leave nothing."""
    vocabulary = job.vocabulary or job.find_vocabulary()
    with workspace(path.parent) as unfinished, using(path.parent):
        entry = unfinished / "entry"
        entry.mkdir()
        length, dropped = job.encode(vocabulary, entry / _IDS, content=content)
        manifest = {
            "length": length,
            "size_bytes": (entry / _IDS).stat().st_size,
            "sha256": content,
            "vocabulary": vocabulary.to_dict(),
            "normaliser": job.normaliser.to_list(),
            "dropped": dict(dropped.most_common()),
        }
        (entry / _MANIFEST).write_text(json.dumps(manifest))
        sync(entry / _MANIFEST)
        sync(entry)
        if path.exists() and not _is_complete(path):
            path.rename(unfinished / "damaged")
        publish(entry, path)


def _is_complete(path: Path) -> bool:
    """Whether the cache entry `path` is there and whole; its name says that it was complete once."""
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
        return bool(manifest["size_bytes"] == (path / _IDS).stat().st_size)
    except (OSError, ValueError, KeyError, TypeError):
        return False
