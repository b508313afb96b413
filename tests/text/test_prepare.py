import bz2
import gzip
import hashlib
import itertools
import json
import lzma
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import Corpus
from charrnn.text.normaliser import Normaliser
from charrnn.text.prepare import _Job, _make, prepare
from charrnn.text.prepared import PreparedText, find_prepared, open_prepared
from charrnn.text.settings import TextConfig
from charrnn.text.sources import Part
from charrnn.text.vocabulary import Vocabulary
from tests.conftest import Finished

PROSE = "Так говорил 日本 \U0001d11e, and so on:\r\n\tÉté, e\u0301te\u0301.\n" * 4000  # several blocks in UTF-8


@pytest.fixture
def novel(tmp_path: Path) -> Path:
    path = tmp_path / "novel.txt"
    path.write_bytes(PROSE.encode())
    return path


def of(*files: Path, **settings: Any) -> TextConfig:
    return TextConfig(corpus=tuple(map(str, files)), **settings)


def text_in(prepared: PreparedText) -> str:
    return prepared.vocabulary.decode(prepared.stream.read(0, len(prepared.stream)))


def entries(cache: Path) -> list[Path]:
    """Return everything below prepared/ that is no part of a complete entry."""
    return sorted((cache / "prepared").iterdir()) if (cache / "prepared").exists() else []


def python(code: str, *arguments: object, **options: object) -> subprocess.Popen[bytes]:
    """Run `code`, for which `text` is the file that its first argument names."""
    imports = "import sys\nfrom charrnn.text.prepare import prepare\nfrom charrnn.text.settings import TextConfig\n"
    code = f"{imports}text = TextConfig(corpus=(sys.argv[1],))\n{code}"
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, **options)  # type: ignore[call-overload, no-any-return]


def test_a_text_is_prepared_exactly(novel: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepared = prepare(of(novel))
    assert text_in(prepared) == PROSE
    assert prepared.vocabulary == Vocabulary.of(PROSE)
    assert prepared.stream.dtype == prepared.vocabulary.dtype
    assert prepared.fresh
    assert 0 < prepared.seconds < 60
    assert prepared.dropped == {}
    assert prepared.description == str(novel)
    assert entries(cache) == [prepared.path]
    assert capfd.readouterr() == ("", "")


def test_the_second_start_finds_the_work_done(novel: Path, cache: Path) -> None:
    first = prepare(of(novel, normaliser=("notebook",)))
    before = [(path, path.stat().st_mtime_ns) for path in sorted(cache.rglob("*"))]
    copy = novel.with_name("copy")
    novel.rename(copy)
    second = prepare(of(copy, normaliser=("notebook",)))
    assert (first.fresh, second.fresh) == (True, False)
    assert [(path, path.stat().st_mtime_ns) for path in sorted(cache.rglob("*"))] == before
    assert text_in(second) == text_in(first)
    for name in ("vocabulary", "normaliser", "dropped", "sha256", "path"):
        assert getattr(second, name) == getattr(first, name)
    assert second.description == str(copy)


def test_another_process_can_open_the_entry(novel: Path) -> None:
    made = prepare(of(novel))
    opened = PreparedText.open(made.path, description="novel")
    assert text_in(opened) == PROSE
    assert (opened.fresh, opened.description, opened.sha256) == (False, "novel", made.sha256)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), chunk_bytes=st.integers(1, 20))
def test_any_text_survives_in_chunks_of_any_size(tmp_path: Path, text: str, chunk_bytes: int) -> None:
    (tmp_path / "text").write_text(text, encoding="utf-8", newline="")
    prepared = prepare(of(tmp_path / "text"), chunk_bytes=chunk_bytes, cache_dir=tmp_path / str(time.time_ns()))
    assert text_in(prepared) == text


@pytest.mark.parametrize(("size", "dtype"), [(256, "uint8"), (257, "uint16"), (65537, "uint32")])
def test_ids_on_disk_have_the_narrowest_type(tmp_path: Path, size: int, dtype: str) -> None:
    text = "".join(map(chr, range(0x10000, 0x10000 + size)))
    (tmp_path / "text").write_text(text, encoding="utf-8")
    prepared = prepare(of(tmp_path / "text"))
    assert prepared.stream.dtype == dtype
    assert text_in(prepared) == text


def test_everything_that_matters_makes_another_entry(novel: Path, cache: Path) -> None:
    ways = [
        of(novel),
        of(novel, encoding="utf-16-le"),
        of(novel, encoding_errors="replace"),
        of(novel, normaliser=('{"step": "keep", "characters": "e."}',)),
        of(novel, normaliser=('{"step": "keep", "characters": "e.", "replacement": " "}',)),
        of(novel, min_count=4001),
        of(novel, min_count=8001),
    ]
    for way in ways:
        assert prepare(way).fresh
    for way in ways:
        assert not prepare(way).fresh
    assert len(entries(cache)) == len(ways)
    status = novel.stat()
    novel.write_bytes(PROSE[:-1].encode() + b"!")
    os.utime(novel, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert prepare(of(novel)).fresh


@dataclass(frozen=True, kw_only=True)
class _Tomorrow(TextConfig):
    """The settings with one more."""

    tabs: int = 8


def test_a_setting_that_is_new_makes_other_entries_and_its_default_does_not(novel: Path) -> None:
    words = {"corpus": (str(novel),), "min_count": 2}
    today = prepare(TextConfig(**words))
    assert prepare(_Tomorrow(**words)).path == today.path
    four, two = (prepare(_Tomorrow(**words, tabs=tabs)) for tabs in (4, 2))
    assert len({today.path, four.path, two.path}) == 3


def test_how_a_text_is_found_and_divided_makes_no_other_entry(novel: Path, tmp_path: Path) -> None:
    prepared = prepare(of(novel))
    (tmp_path / "hub").mkdir()
    novel.rename(tmp_path / "hub" / "novel")
    division = {"validation_fraction": 0.2, "test_fraction": 0.0, "validation_at": "start"}
    other = of(tmp_path / "hub", column="c", hub_split="test", **division)
    assert prepare(other).path == prepared.path


def test_where_parts_meet_matters(tmp_path: Path) -> None:
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    whole.write_bytes(b"a\xc3\xa9b")
    first.write_bytes(b"a\xc3")
    second.write_bytes(b"\xa9b")
    assert text_in(prepare(of(whole))) == "aéb"
    with pytest.raises(CorpusError, match=f"^{re.escape(str(first))}: byte 0xC3 at offset 1"):
        prepare(of(first, second))
    first.write_bytes(b"a")
    second.write_bytes(b"\xc3\xa9b")
    assert text_in(prepare(of(first, second))) == "aéb"


def test_the_normaliser_is_applied_and_what_it_drops_counted(novel: Path) -> None:
    names = ("lf", "nfc", "notebook-spaced")
    normaliser = Normaliser.named(*names)
    prepared = prepare(of(novel, normaliser=names))
    assert text_in(prepared) == normaliser(PROSE)
    assert prepared.normaliser == normaliser
    assert prepared.dropped["\n"] == 8000
    assert prepared.dropped["é"] == 16000
    assert list(prepared.dropped.values()) == sorted(prepared.dropped.values(), reverse=True)


def test_empty_texts_are_refused(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "text"
    path.touch()
    with pytest.raises(
        CorpusError, match=f"^{re.escape(str(path))}: this text is empty; name one that has characters$"
    ):
        prepare(of(path))
    path.write_text("1234", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"the normaliser leaves nothing of it; choose another --text.normaliser"):
        prepare(of(path, normaliser=("notebook",)))
    assert entries(cache) == []


def test_a_wrong_encoding_is_an_error_with_its_offset(novel: Path, cache: Path) -> None:
    novel.write_bytes(PROSE.encode() + b"caf\xe9 noir")
    offset = len(PROSE.encode()) + 3
    expected = f"{novel}: byte 0xE9 at offset {offset} is not utf-8 (invalid continuation byte)"
    with pytest.raises(CorpusError, match=f"^{re.escape(expected)}"):
        prepare(of(novel))
    assert entries(cache) == []
    assert text_in(prepare(of(novel, encoding_errors="replace"))) == PROSE + "caf\ufffd noir"
    with pytest.raises(ConfigError, match="'utf-9' is no text encoding"):
        prepare(of(novel, encoding="utf-9"))


@pytest.mark.parametrize("file", ["ids.arrow", "prepared.json"])
@pytest.mark.parametrize("damage", ["shorter", "gone"])
def test_a_damaged_entry_is_made_again(novel: Path, cache: Path, file: str, damage: str) -> None:
    first = prepare(of(novel))
    if damage == "gone":
        (first.path / file).unlink()
    else:
        os.truncate(first.path / file, (first.path / file).stat().st_size - 10)
    second = prepare(of(novel))
    assert second.fresh
    assert text_in(second) == PROSE
    assert entries(cache) == [second.path]


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.999])
@pytest.mark.parametrize("file", ["ids.arrow", "prepared.json"])
def test_a_flipped_bit_in_an_entry_is_found(novel: Path, cache: Path, file: str, place: float) -> None:
    first = prepare(of(novel))
    content = bytearray((first.path / file).read_bytes())
    content[int(place * len(content))] ^= 1
    (first.path / file).write_bytes(content)
    assert open_prepared(first.path, description="") is None
    assert find_prepared(first.sha256, first.vocabulary, first.normaliser, length=len(PROSE)) is None
    second = prepare(of(novel))
    assert second.fresh
    assert text_in(second) == PROSE
    assert entries(cache) == [second.path]
    assert not prepare(of(novel)).fresh


def test_an_entry_without_a_checksum_is_made_again_in_its_place(novel: Path, cache: Path) -> None:
    """As charrnn 0.1.0 made them."""
    first = prepare(of(novel))
    manifest = json.loads((first.path / "prepared.json").read_bytes())
    old = {name: manifest[name] for name in ("length", "sha256", "vocabulary", "normaliser", "dropped")}
    old["size_bytes"] = (first.path / "ids.arrow").stat().st_size
    (first.path / "prepared.json").write_text(json.dumps(old))
    assert prepare(of(novel)).fresh
    assert entries(cache) == [first.path]


def test_the_key_of_an_entry_is_that_of_the_first_version(tmp_path: Path) -> None:
    """So that what charrnn 0.1.0 left in a cache is replaced and not kept for ever."""
    (tmp_path / "text").write_bytes(b"some text")
    digest = hashlib.sha256(b"some text").hexdigest()
    key = json.dumps([1, unicodedata.unidata_version, digest, [(9, None)], ["utf-8", "strict", [], None]])
    assert prepare(of(tmp_path / "text")).path.name == hashlib.sha256(key.encode()).hexdigest()


def test_compressed_or_not_it_is_the_same_text(novel: Path, tmp_path: Path) -> None:
    """A run goes on with either."""
    plain = prepare(of(novel))
    other = tmp_path / "other.txt"
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        other.write_bytes(pack(PROSE.encode()))
        packed = prepare(of(other))
        assert packed.fresh
        assert text_in(packed) == PROSE
        assert packed.sha256 == plain.sha256
        assert not prepare(of(other)).fresh


def test_compressed_nothing_is_empty(tmp_path: Path) -> None:
    (tmp_path / "text.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(CorpusError, match=r"text\.gz: this text is empty; name one that has characters$"):
        prepare(of(tmp_path / "text.gz"))


def test_a_run_inside_the_text_changes_nothing(tmp_path: Path, trained: Finished) -> None:
    """`charrnn-train .` goes on with its run: what it has written meanwhile is not its text."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "novel.txt").write_text("Some text.")
    before = prepare(of(tmp_path / "dir"))
    shutil.copytree(trained.run, tmp_path / "dir" / "runs" / "first")
    after = prepare(of(tmp_path / "dir"))
    assert (after.sha256, after.path, after.fresh) == (before.sha256, before.path, False)
    assert after.description == f"{tmp_path}/dir (1 run directory passed over)"


def test_rare_characters_become_one_character(novel: Path) -> None:
    novel.write_text("aaaaabbbbb" + "cccc" + "ddd" + "é𝄞日" + "\ufffd", encoding="utf-8")
    prepared = prepare(of(novel, min_count=4))
    assert text_in(prepared) == "aaaaabbbbbcccc" + "\ufffd" * 7
    assert prepared.vocabulary.characters == "abc\ufffd"
    assert prepared.rare == {"d": 3, "é": 1, "日": 1, "𝄞": 1}
    assert next(iter(prepared.rare)) == "d"
    assert prepared.dropped == {}
    # Prompts get the same, whatever is in them, and so does a model that is made of what a run keeps.
    assert prepared.normaliser("dab!\ufffdc") == "\ufffdab\ufffd\ufffdc"
    again = prepare(of(novel, min_count=4))
    assert (again.fresh, again.rare, again.normaliser) == (False, prepared.rare, prepared.normaliser)
    found = find_prepared(prepared.sha256, prepared.vocabulary, prepared.normaliser, length=21)
    assert found is not None
    assert found.path == prepared.path


def test_characters_are_counted_as_the_normaliser_leaves_them(novel: Path) -> None:
    novel.write_text("AaAa Bb C.", encoding="utf-8")
    keep = ("lowercase", '{"step": "keep", "characters": "abc"}')
    prepared = prepare(of(novel, normaliser=keep, min_count=2))
    assert text_in(prepared) == "aaaabb\ufffd"
    assert prepared.rare == {"c": 1}
    assert prepared.dropped == {" ": 2, ".": 1}
    assert prepared.normaliser.steps[:2] == Normaliser.named(*keep).steps


@pytest.mark.parametrize("min_count", [0, 1, 2])
def test_where_nothing_is_rare_nothing_changes(novel: Path, min_count: int) -> None:
    prepared = prepare(of(novel, min_count=min_count))
    assert text_in(prepared) == PROSE
    assert (prepared.rare, prepared.normaliser, prepared.vocabulary) == ({}, Normaliser(), Vocabulary.of(PROSE))


def test_the_character_that_stands_for_rare_ones_is_never_rare(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("aab\ufffd", encoding="utf-8")
    assert text_in(prepare(of(tmp_path / "text", min_count=2))) == "aa\ufffd\ufffd"
    (tmp_path / "text").write_text("aa\ufffd", encoding="utf-8")
    prepared = prepare(of(tmp_path / "text", min_count=2))
    assert (text_in(prepared), prepared.rare, prepared.normaliser) == ("aa\ufffd", {}, Normaliser())


def test_a_count_that_no_character_has_is_an_error(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "text").write_text("abcabc")
    with pytest.raises(CorpusError, match=r"text: has no character 3 times; lower --text.min-count$"):
        prepare(of(tmp_path / "text", min_count=3))
    assert entries(cache) == []


def test_nul_and_byte_order_marks_are_part_of_the_text_and_counted(tmp_path: Path) -> None:
    text = "\ufeffone\0" + "\ufefftwo" * 2 + "x" * 200_000 + "\0"
    (tmp_path / "text").write_text(text, encoding="utf-8")
    prepared = prepare(of(tmp_path / "text"))
    assert text_in(prepared) == text
    assert prepared.suspects == {"\0": 2, "\ufeff": 3}
    assert prepare(of(tmp_path / "text")).suspects == prepared.suspects
    assert prepare(of(tmp_path / "text", encoding="utf-8-sig")).suspects == {"\0": 2, "\ufeff": 2}
    without = ('{"step": "keep", "characters": "onetwx"}',)
    assert prepare(of(tmp_path / "text", normaliser=without)).suspects == {}


def test_a_cache_that_cannot_be_written_is_an_error(novel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expected = rf"^the cache {tmp_path}/file/prepared cannot be used: Not a directory; .* CHARRNN_CACHE to a directory"
    with pytest.raises(CorpusError, match=expected):
        prepare(of(novel), cache_dir=tmp_path / "file")


def test_a_full_disk_leaves_nothing(novel: Path, cache: Path) -> None:
    code = (
        "import resource\nfrom charrnn.errors import CorpusError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    prepare(text, progress=False)\n"
        "except CorpusError as error:\n    print(error)\n"
    )
    process = python(code, novel, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate()[0].decode()
    assert re.fullmatch(f"the cache {cache}/prepared cannot be used: File too large; .*CHARRNN_CACHE.*\n", output)
    assert entries(cache) == []


def test_a_killed_preparation_is_never_taken_for_complete(tmp_path: Path, cache: Path) -> None:
    text = "a line that is neither long nor short\n" * 1_500_000
    (tmp_path / "text").write_text(text, encoding="utf-8")
    process = python("prepare(text, chunk_bytes=1 << 20)", tmp_path / "text")
    while not list(cache.glob("prepared/*/entry/ids.arrow")):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (left,) = entries(cache)
    assert left.name.startswith(".unfinished-")
    prepared = prepare(of(tmp_path / "text"))
    assert prepared.fresh
    assert text_in(prepared) == text


def test_two_processes_at_once_share_one_entry(novel: Path, cache: Path) -> None:
    novel.write_bytes(PROSE.encode() * 20)
    code = "import charrnn.text.arrow\ninput()\nprepared = prepare(text)\nprint(len(prepared.stream))"
    processes = [python(code, novel, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == [f"{len(PROSE) * 20}\n".encode()] * 2
    assert [process.returncode for process in processes] == [0, 0]
    (entry,) = entries(cache)
    assert not entry.name.startswith(".")


def job(parts: Iterator[bytes]) -> _Job:
    """Return the preparation of a text of one part, whose content is the next of `parts` each time it is read."""
    part = Part(name="log", blocks=lambda: iter([next(parts)]), size_bytes=None)
    corpus = Corpus(parts=(part,), settings=TextConfig(), description="log", resources=ExitStack())
    return _Job(corpus=corpus, normaliser=Normaliser(), progress=False, chunk_bytes=99)


def test_the_slower_of_two_uses_what_the_faster_published(tmp_path: Path) -> None:
    same = job(itertools.repeat(b"some text"))
    content, _ = same.identify()
    _make(same, tmp_path / "entry", content)
    before = (tmp_path / "entry" / "ids.arrow").stat().st_ino
    _make(same, tmp_path / "entry", content)
    assert (tmp_path / "entry" / "ids.arrow").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["entry"]


@pytest.mark.parametrize("later", [b"one line\none line\n", b""])
def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path: Path, later: bytes) -> None:
    """After it was hashed and its characters were found."""
    changing = job(itertools.chain([b"one line\n"] * 3, itertools.repeat(later)))
    content, _ = changing.identify()
    with pytest.raises(CorpusError, match=r"^log: it was changed while it was being read; start again$"):
        _make(changing, tmp_path / "entry", content)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    code = (
        "import pathlib, re\nprepare(text, progress=False, chunk_bytes=4 << 20)\n"
        "print(re.findall(r'VmHWM:\\s*(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[0])"
    )
    peaks = []
    for megabytes in (8, 72):
        (tmp_path / "text").write_bytes(b"words of some length and lines, too\n" * (megabytes * 1_000_000 // 36))
        process = python(code, tmp_path / "text", stdout=subprocess.PIPE)
        peaks.append(int(process.communicate()[0]) * 1024)
    # The 64 MB more would show at least once, as bytes; the noise between two runs is a few MB.
    assert peaks[1] - peaks[0] < 32_000_000


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_for_terminals(novel: Path, progress: bool) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = python(f"prepare(text, progress={progress})", novel, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # what a terminal says at its end
        while block := os.read(ours, 9999):
            shown += block
    os.close(ours)
    assert process.wait() == 0
    for label in (b"reading", b"finding characters", b"encoding"):
        assert (label in shown) == progress
    assert progress or not shown


def test_the_manifest_is_readable(novel: Path) -> None:
    prepared = prepare(of(novel, normaliser=("lowercase",)))
    manifest = json.loads((prepared.path / "prepared.json").read_bytes())
    assert manifest["length"] == len(prepared.stream) == len(PROSE)
    assert manifest["normaliser"] == [{"step": "lowercase"}]
    assert Vocabulary.from_dict(manifest["vocabulary"]) == prepared.vocabulary


def test_a_text_is_found_by_what_it_was_made_of(tmp_path: Path) -> None:
    """Without its corpus, which may be gone; and not where anything is another."""
    file, cache = tmp_path / "text.txt", tmp_path / "cache"
    file.write_text("Some text, and a Second one.")
    normaliser = Normaliser.named("lowercase")
    made = prepare(of(file, normaliser=("lowercase",)), cache_dir=cache, progress=False)
    file.unlink()
    length = len(made.stream)
    found = find_prepared(made.sha256, made.vocabulary, normaliser, length=length, cache_dir=cache)
    assert found is not None
    assert found.path == made.path
    others = [
        ("0" * 64, made.vocabulary, normaliser, length),
        (made.sha256, Vocabulary("ab"), normaliser, length),
        (made.sha256, made.vocabulary, Normaliser(), length),
        (made.sha256, made.vocabulary, normaliser, length + 1),
    ]
    for sha256, vocabulary, steps, characters in others:
        assert find_prepared(sha256, vocabulary, steps, length=characters, cache_dir=cache) is None
    assert find_prepared(made.sha256, made.vocabulary, normaliser, length=length, cache_dir=tmp_path / "no") is None
