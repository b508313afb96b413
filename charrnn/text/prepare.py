"""Preparation: a corpus becomes an encoded stream in the cache, once.

The corpus is read three times and never held: to hash it (the key of its cache entry), to find its characters, to
encode them.
"""

import hashlib
import json
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.files import cache_dir as default_cache_dir
from charrnn.text.cache import publish, using, workspace
from charrnn.text.codepoints import NUM_CODE_POINTS, code_points, text_of
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.decoding import check_encoding
from charrnn.text.normaliser import Normaliser
from charrnn.text.normaliser_steps import Keep
from charrnn.text.prepared import IDS, PreparedText, is_whole, write_manifest
from charrnn.text.progress import progress_bar
from charrnn.text.settings import TextConfig
from charrnn.text.vocabulary import Vocabulary

__all__ = ["prepare"]

_VERSION = 1  # of a cache entry's key: entries of other versions are never looked at
_FIRST_SETTINGS = {"corpus", "sha256", "column", "hub_split", "encoding", "encoding_errors", "normaliser"}
"""Those of charrnn 0.1.0. An entry's key has what it had then: the SHA-256 of the bytes, the encoding, what to do with
bytes that are not of it, and the normaliser's steps."""
_DIVISION = {"validation_fraction", "test_fraction", "validation_at"}
"""How the text is divided, which nothing that is prepared depends on."""
_CHUNK_BYTES = 64 << 20
_RARE = "\ufffd"
"""What a rare character becomes."""
_SUSPECTS = "\0\ufeff"
"""Characters that are seldom meant to be there: NUL, and the byte order mark."""


def prepare(
    settings: TextConfig,
    *,
    cache_dir: Path | None = None,
    progress: bool = True,
    chunk_bytes: int = _CHUNK_BYTES,
) -> PreparedText:
    """Prepare the text that `settings` describe, or find it prepared.

    Its characters make the vocabulary. Where some are rarer than `min_count`, the normaliser gets a `keep` step that
    makes them U+FFFD. `chunk_bytes` is the size of a record batch.
    Raises CorpusError or ConfigError.
    """
    started = time.perf_counter()
    normaliser = Normaliser.named(*settings.normaliser)
    check_encoding(settings.encoding)
    cache_dir = cache_dir or default_cache_dir()
    with open_corpus(settings, cache_dir=cache_dir, progress=progress) as corpus:
        job = _Job(corpus=corpus, normaliser=normaliser, progress=progress, chunk_bytes=chunk_bytes)
        stored, key = job.identify()
        path = cache_dir / "prepared" / key
        fresh = not is_whole(path)
        if fresh:
            _make(job, path, stored)
    prepared = PreparedText.open(path, description=corpus.description)
    return replace(prepared, fresh=fresh, seconds=time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class _Job:
    """A corpus and what is to be done with it."""

    corpus: Corpus
    normaliser: Normaliser
    """As the settings name it."""
    progress: bool
    chunk_bytes: int

    def identify(self) -> tuple[str, str]:
        """Return the SHA-256 of the corpus as it is stored, and the key of everything that the result depends on."""
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
            raise CorpusError(self._empty())
        stored = digest.hexdigest()
        # Lower case and normal forms come from Python's version of Unicode.
        key = json.dumps([_VERSION, unicodedata.unidata_version, stored, parts, self._rules()])
        return stored, hashlib.sha256(key.encode()).hexdigest()

    def _rules(self) -> list[object]:
        """What the encoded text depends on, beside the bytes of the corpus.

        Every setting that came after charrnn 0.1.0 counts, where it is not its default: so older keys stay.
        """
        settings = self.corpus.settings
        later = {name: value for name, value in asdict(settings).items() if name not in _FIRST_SETTINGS | _DIVISION}
        changed = [[name, value] for name, value in later.items() if value != getattr(type(settings), name)]
        no_vocabulary = None  # stood in every key from the beginning
        return [settings.encoding, settings.encoding_errors, self.normaliser.to_list(), no_vocabulary, *changed]

    def make(self, entry: Path, *, stored: str) -> None:
        """Write the encoded text and its manifest into the directory `entry`.

        Raises CorpusError if nothing is left of the text, or if the SHA-256 of its bytes is no longer `stored`.
        """
        vocabulary, normaliser, rare = self._find_characters()
        found = self._encode(vocabulary, normaliser, entry / IDS)
        if found.stored.hexdigest() != stored:
            raise CorpusError(f"{self.corpus.description}: it was changed while it was being read; start again")
        manifest = {
            "length": found.length,
            "sha256": found.unpacked.hexdigest() if self.corpus.is_packed else stored,
            "vocabulary": vocabulary.to_dict(),
            "normaliser": normaliser.to_list(),
            "dropped": dict((found.dropped - rare).most_common()),
            "rare": dict(rare.most_common()),
            "suspects": dict(found.suspects),
        }
        write_manifest(entry, manifest)

    def _find_characters(self) -> tuple[Vocabulary, Normaliser, Counter[str]]:
        """Return the vocabulary, the whole normaliser, and the characters that are too rare for them, with counts.

        Raises CorpusError if nothing is left of the text.
        """
        min_count = self.corpus.settings.min_count
        counts = np.zeros(NUM_CODE_POINTS, dtype=np.int64)
        for text in self._texts("finding characters", self.normaliser):
            seen = np.bincount(code_points(text))
            counts[: len(seen)] += seen
        if not counts.any():
            raise CorpusError(self._nothing_left())
        if counts.max() < min_count:
            raise CorpusError(f"{self.corpus.description}: has no character {min_count} times; lower --text.min-count")
        is_rare = (counts > 0) & (counts < min_count)
        is_rare[ord(_RARE)] = False
        kept = text_of(np.flatnonzero((counts > 0) & ~is_rare))
        if not is_rare.any():
            return Vocabulary(kept), self.normaliser, Counter()
        keep = Keep(kept + _RARE, _RARE)
        rare = Counter({chr(code): int(counts[code]) for code in np.flatnonzero(is_rare).tolist()})
        return Vocabulary(keep.characters), Normaliser((*self.normaliser.steps, keep)), rare

    def _encode(self, vocabulary: Vocabulary, normaliser: Normaliser, path: Path) -> "_Found":
        """Write the ids of the text to `path`; return what was found on the way."""
        from charrnn.text.arrow import write_ids  # brings in datasets, which takes a second

        found = _Found()

        def pieces() -> Iterator[NDArray[Any]]:
            unpacked = found.unpacked.update if self.corpus.is_packed else None
            for text in self._texts("encoding", normaliser, found.stored.update, unpacked, found.dropped):
                yield vocabulary.encode(text, position=found.length)
                found.length += len(text)
                found.suspects.update({c: text.count(c) for c in _SUSPECTS if c in text})

        write_ids(path, pieces(), vocabulary.dtype, chunk_bytes=self.chunk_bytes)
        return found

    def _texts(
        self,
        label: str,
        normaliser: Normaliser,
        stored: Callable[[bytes], None] | None = None,
        unpacked: Callable[[bytes], None] | None = None,
        dropped: Counter[str] | None = None,
    ) -> Iterator[str]:
        """Yield the normalised text in chunks; the others get the bytes, what is in them, and what is dropped."""
        with progress_bar(label, self.corpus.size_bytes, progress=self.progress) as bar:

            def watch(block: bytes) -> None:
                bar.update(len(block))
                if stored:
                    stored(block)

            chunks = self.corpus.text(watch=watch, watch_unpacked=unpacked)
            yield from normaliser.stream(chunks, dropped)

    def _empty(self) -> str:
        return f"{self.corpus.description}: this text is empty; name one that has characters"

    def _nothing_left(self) -> str:
        if not self.normaliser.steps:  # of compressed nothing, for one
            return self._empty()
        return f"{self.corpus.description}: the normaliser leaves nothing of it; choose another --text.normaliser"


@dataclass(kw_only=True)
class _Found:
    """What encoding a text finds out about it."""

    length: int = 0
    stored: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    """Of the corpus's bytes as they are stored."""
    unpacked: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    """Of what is in them."""
    dropped: Counter[str] = field(default_factory=Counter)
    suspects: Counter[str] = field(default_factory=Counter)


def _make(job: _Job, path: Path, stored: str) -> None:
    """Make the cache entry `path`, or leave nothing."""
    with workspace(path.parent) as unfinished, using(path.parent):
        entry = unfinished / "entry"
        entry.mkdir()
        job.make(entry, stored=stored)
        if path.exists() and not is_whole(path):
            path.rename(unfinished / "damaged")
        publish(entry, path)
