import bz2
import gzip
import hashlib
import lzma
import os
import random
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.download import Download
from charrnn.text.settings import TextConfig
from tests.text.conftest import Server


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that words are relative paths."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def opened(*words: str, downloads: dict[str, Download] | None = None, **settings: Any) -> Corpus:
    more = {} if downloads is None else {"downloads": downloads}
    config = TextConfig(corpus=words, **settings)
    return open_corpus(config, cache_dir=Path(os.environ["CHARRNN_CACHE"]), progress=False, **more)


def text(corpus: Corpus) -> str:
    return "".join(corpus.text(watch=bytes))


def read(*words: str, sha256: str = "", downloads: dict[str, Download] | None = None) -> bytes:
    with opened(*words, sha256=sha256, downloads=downloads) as corpus:
        first = b"".join(block for part in corpus.parts for block in part.blocks())
        assert b"".join(block for part in corpus.parts for block in part.blocks()) == first
        assert corpus.size_bytes == len(first)
        return first


def write(**files: bytes) -> None:
    for name, content in files.items():
        path = Path(name.replace("__", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_files_follow_each_other_exactly() -> None:
    write(b=b"\xef\xbb\xbfb\r\n", a=b"a")
    assert read("b", "a", "b") == b"\xef\xbb\xbfb\r\na\xef\xbb\xbfb\r\n"


def test_a_directory_is_read_in_order_without_binary_files() -> None:
    write(dir__b=b"b", dir__a__c=b"c", dir__a__image=b"\x89PNG\0", dir__z=b"z")
    with opened("dir") as corpus:
        assert [part.name for part in corpus.parts] == ["dir/a/c", "dir/b", "dir/z"]
        assert corpus.skipped_files == 1
        assert corpus.description == "dir (3 files, 1 binary file skipped)"
    assert read("dir") == b"cbz"


def test_a_directory_without_text_is_an_error() -> None:
    write(dir__image=b"\0", dir__more__sound=b"\0")
    Path("empty").mkdir()
    with pytest.raises(CorpusError, match=r"^dir: no text in this directory \(2 files, 2 of them binary\)$"):
        opened("dir")
    with pytest.raises(CorpusError, match=r"^empty: no text in this directory \(0 files, 0 of them binary\)$"):
        opened("empty")


def test_a_pattern_is_what_the_shell_would_make_of_it() -> None:
    write(x2=b"2", x10=b"10", y=b"y", xs__deep__file=b"s")
    Path("x3").symlink_to("nowhere")
    assert read("x[0-9]*") == b"102"
    assert read("x*") == b"102s"
    assert read("**/file") == b"s"
    assert read(f"{Path.cwd()}/x[1]*") == b"10"


def test_a_pattern_without_a_match_is_an_error() -> None:
    with pytest.raises(CorpusError, match=r"^no file matches \*\.text$"):
        opened("*.text")


def test_a_file_called_like_a_pattern_is_a_file() -> None:
    Path("a[b]").write_bytes(b"itself")
    assert read("a[b]") == b"itself"


RUN = b'{"charrnn": "0.1.0"}'


def test_a_directory_is_read_without_the_runs_in_it() -> None:
    write(dir__novel=b"text", dir__runs__a__samples=b"sample", dir__runs__b__deep__samples=b"sample")
    assert read("dir") == b"textsamplesample"
    for run in ("a", "b"):
        Path(f"dir/runs/{run}/config.json").write_bytes(RUN)
    with opened("dir") as corpus:
        assert [part.name for part in corpus.parts] == ["dir/novel"]
        assert corpus.skipped_runs == 2
        assert corpus.description == "dir (2 run directories passed over)"
    os.chdir("dir")
    assert read(".") == b"text"


@pytest.mark.parametrize("words", [["*"], ["**"], ["**/*"], ["novel", "runs"], ["novel", "runs/a"], ["novel", "r*/*"]])
def test_patterns_and_words_pass_over_runs(words: list[str]) -> None:
    """The words are what the shell makes of a pattern."""
    write(novel=b"text", runs__a__samples=b"sample", runs__a__checkpoints__step__manifest=b"{}")
    Path("runs/a/config.json").write_bytes(RUN)
    with opened(*words) as corpus:
        assert [part.name for part in corpus.parts] == ["novel"]
        files = "1 file, " if len(words) > 1 else ""
        assert corpus.description == f"{', '.join(words)} ({files}1 run directory passed over)"


@pytest.mark.parametrize("word", ["runs", "runs/a", "runs/*", "**/samples"])
def test_nothing_but_runs_is_an_error_that_says_what_to_do(word: str) -> None:
    write(runs__a__samples=b"sample")
    Path("runs/a/config.json").write_bytes(RUN)
    expected = (
        f"^{re.escape(word)} \\(1 run directory passed over\\): no text but what runs wrote; .*--resume DIR.*samples"
    )
    with pytest.raises(CorpusError, match=expected):
        opened(word)
    assert read("runs/a/samples") == b"sample"  # a file that is named is meant


def test_a_file_that_a_pattern_finds_twice_is_read_once() -> None:
    write(a__b=b"b", a__c__d=b"d", e=b"e")
    assert read("**") == read("**/*") == b"bde"
    assert read("e", "e", "*") == b"eebde"


def test_compressed_files_are_read_wherever_they_are_named() -> None:
    write(dir__a=gzip.compress(b"one\r\n"), dir__b=b"two", dir__c=lzma.compress(b"three"), dir__d=gzip.compress(b"\0"))
    with opened("dir") as corpus:
        assert corpus.description == "dir (3 files, 1 binary file skipped)"
        assert text(corpus) == "one\r\ntwothree"
        assert corpus.size_bytes == sum(Path(f"dir/{name}").stat().st_size for name in "abc")  # as they are read
    with opened("dir/[ac]") as corpus:
        assert text(corpus) == "one\r\nthree"
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(bz2.compress(b"piped")))
    writer.start()
    with opened("pipe", "dir/b") as corpus:
        assert text(corpus) == text(corpus) == "pipedtwo"
    writer.join()


def test_a_compressed_download_is_checked_as_it_is_and_read_unpacked(server: Server) -> None:
    server.body = gzip.compress(b"What passes through here.")
    with opened(server.address("good"), sha256=hashlib.sha256(server.body).hexdigest()) as corpus:
        assert text(corpus) == "What passes through here."


@pytest.mark.parametrize("size", [999, 99_999])
def test_a_damaged_file_in_a_directory_is_named(size: int) -> None:
    """Whether it is found where binary files are looked for, or where the text is read."""
    noise = random.Random(0).randbytes(size).hex().encode()
    write(dir__a=b"text", dir__b=gzip.compress(noise)[:-9])
    with (
        pytest.raises(CorpusError, match=r"^dir/b: cannot be unpacked \(Compressed file ended"),
        opened("dir") as corpus,
    ):
        text(corpus)


def test_utf_16_in_a_directory_is_text_where_it_is_asked_for() -> None:
    write(dir__a="text".encode("utf-16"), dir__image=b"\x89PNG\0\0\0\0")
    with opened("dir", encoding="utf-16") as corpus:
        assert [part.name for part in corpus.parts] == ["dir/a"]
        assert text(corpus) == "text"
    expected = r"^dir: no text in this directory \(2 files, 2 of them binary\); dir/a is of --text.encoding utf-16$"
    with pytest.raises(CorpusError, match=expected):
        opened("dir")


def test_paths_that_are_not_utf_8_are_read_and_can_be_told() -> None:
    name = os.fsdecode(b"caf\xe9")
    write(**{name: b"text", f"{name}.d__b": b"\xff"})
    assert read(name) == read(f"{name[:3]}?") == b"text"
    with opened(name) as corpus:
        assert (corpus.description, corpus.parts[0].name) == ("caf\\xe9", "caf\\xe9")
    with opened(f"{name}.d") as corpus:
        assert corpus.description == "caf\\xe9.d"
        with pytest.raises(CorpusError, match=r"^caf\\xe9\.d/b: byte 0xFF at offset 0"):
            text(corpus)
    Path(f"{name}.d/b").write_bytes(b"\0")
    for word, problem in [
        (f"{name}.d", r"caf\xe9.d: no text in this directory (1 file, 1 of them binary)"),
        (f"{name}x", r"caf\xe9x: no such file or directory; did you mean caf\xe9?"),
        (f"{name}x*", r"no file matches caf\xe9x*"),
        (name * 99, r"caf\xe9" * 50 + "...: cannot be read: File name too long"),
    ]:
        with pytest.raises(CorpusError, match=f"^{re.escape(problem)}$"):
            opened(word)


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "a\0*", "x" * 5000, "x" * 5000 + "*", "y/" * 3000])
def test_a_word_that_is_no_path_is_an_error(word: str) -> None:
    with pytest.raises(CorpusError) as error:
        opened(word)
    str(error.value).encode()  # can be told


def test_a_directory_that_may_not_be_entered_is_an_error() -> None:
    write(closed__dir__novel=b"text")
    Path("closed").chmod(0o600)
    code = (
        "import os, pathlib\nfrom charrnn.errors import CorpusError\nfrom charrnn.text.corpus import open_corpus\n"
        "from charrnn.text.settings import TextConfig\n"
        "os.setuid(65534)\n"  # root may enter everything
        "for word in ('closed', 'closed/dir', 'closed/dir/novel', 'closed/*', 'closed/dir/*'):\n"
        "    text = TextConfig(corpus=(word,))\n"
        "    try:\n        open_corpus(text, cache_dir=pathlib.Path('/nowhere'), progress=False)\n"
        "    except CorpusError as error:\n        print(error)\n"
    )
    if os.getuid():
        code = code.replace("os.setuid(65534)\n", "")
    for parent in [Path.cwd(), *Path.cwd().parents][:4]:
        parent.chmod(parent.stat().st_mode | 0o5)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert sum("Permission denied" in line for line in lines) >= 3, lines


def test_built_in_names_come_before_files() -> None:
    write(alphabet=b"not it")
    assert read("alphabet") == b"abcdefghijklmnopqrstuvwxyz" * 100
    assert read("./alphabet") == b"not it"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("dir/novle", "did you mean dir/novel?"),
        ("alphabeth", "did you mean alphabet?"),
        ("shakespeare", "did you mean tiny-shakespeare?"),
        ("dead", "did you mean deed?"),
        ("zzz", "built-in corpora: alphabet, python-stdlib, war-and-peace, tiny-shakespeare"),
        ("nodir/xyz", "built-in corpora: alphabet, python-stdlib, war-and-peace, tiny-shakespeare"),
    ],
)
def test_a_missing_file_suggests_the_nearest(word: str, hint: str) -> None:
    write(dir__novel=b"", deed=b"")
    Path("dead").symlink_to("nowhere")
    with pytest.raises(CorpusError, match=f"^{re.escape(f'{word}: no such file or directory; {hint}')}$"):
        opened(word)


def test_a_word_that_the_system_refuses_is_an_error() -> None:
    with pytest.raises(CorpusError, match=r"^x{200}\.\.\.: cannot be read: File name too long$"):
        opened("x" * 999)


@pytest.mark.parametrize("words", [(), ("",), ("alphabet", "")])
def test_nothing_is_no_corpus(words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="no corpus is named; name a file"):
        opened(*words)


def test_an_address_is_fetched_and_checked(server: Server) -> None:
    digest = hashlib.sha256(server.body).hexdigest()
    address = server.address("good")
    assert read(address, sha256=digest.upper()) == server.body
    assert server.requests == ["/good"]
    with pytest.raises(CorpusError, match=f"^{address}: its SHA-256 is {digest}, not {'0' * 64}"):
        opened(address, sha256="0" * 64)


def test_checksums_that_do_not_fit_the_words_are_refused(server: Server) -> None:
    address = server.address("good")
    with pytest.raises(
        ConfigError, match=rf"^{address}: an address needs its checksum: give --text.sha256 HEX .*sha256sum"
    ):
        opened(address)
    with pytest.raises(ConfigError, match="'12ab' is no SHA-256: that is 64 hexadecimal digits"):
        opened(address, sha256="12ab")
    with pytest.raises(ConfigError, match="is for a corpus with one address, and this one has 2"):
        opened(address, address, sha256="0" * 64)
    with pytest.raises(ConfigError, match="is for a corpus with one address, and this one has 0"):
        opened("alphabet", sha256="0" * 64)
    assert server.requests == []


def test_a_built_in_download_is_fetched_once(server: Server) -> None:
    novel = Download(address=server.address("good"), sha256=hashlib.sha256(server.body).hexdigest())
    assert read("war-and-peace", downloads={"war-and-peace": novel}) == server.body
    assert read("war-and-peace", "alphabet", downloads={"war-and-peace": novel})[:-2600] == server.body
    assert server.requests == ["/good"]
    with opened("war-and-peace", downloads={"war-and-peace": novel}) as corpus:
        assert (corpus.description, corpus.parts[0].name) == ("war-and-peace", "war-and-peace")


def test_the_line_ends_of_a_download_are_read_as_newlines(server: Server) -> None:
    sha256 = hashlib.sha256(server.body).hexdigest()
    novel = Download(address=server.address("good"), sha256=sha256, encoding="utf-8-sig", line_end=b"\r")
    with opened("war-and-peace", downloads={"war-and-peace": novel}) as corpus:
        (part,) = corpus.parts
        assert b"".join(part.blocks()) == server.body.replace(b"\r", b"\n")
        assert part.encoding == "utf-8-sig"


def test_standard_input_is_spooled_and_removed(cache: Path) -> None:
    write(input=b"piped\r\n" * 50_000, after=b"after")
    code = (
        "import os, pathlib, sys\nfrom charrnn.text.corpus import open_corpus\n"
        "from charrnn.text.settings import TextConfig\ntext = TextConfig(corpus=('-', 'after'))\n"
        "cache = pathlib.Path(os.environ['CHARRNN_CACHE'])\n"
        "with open_corpus(text, cache_dir=cache, progress=False) as corpus:\n"
        "    first, second = [[b''.join(p.blocks()) for p in corpus.parts] for _ in range(2)]\n"
        "    assert first == second == [b'piped\\r\\n' * 50_000, b'after']\n"
        "    assert corpus.description == 'standard input, after', corpus.description\n"
    )
    with Path("input").open("rb") as source:
        command = [sys.executable, "-W", "error", "-c", code]
        result = subprocess.run(command, stdin=source, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
    assert list(cache.iterdir()) == []


def test_a_closed_standard_input_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match="standard input is closed; pipe a text into it, or name a file"):
        opened("-")


def test_a_pipe_can_be_read_several_times() -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(b"from a command"))
    writer.start()
    assert read("pipe") == b"from a command"
    writer.join()


def test_what_was_spooled_is_closed_when_a_later_word_fails(recwarn: pytest.WarningsRecorder) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(b"from a command"))
    writer.start()
    with pytest.raises(CorpusError):
        opened("pipe", "missing")
    writer.join()
    assert not recwarn.list


def test_a_data_set_is_a_corpus() -> None:
    write(set__train=b"")
    Path("set/train").rename("set/train.jsonl")
    Path("set/train.jsonl").write_bytes(b'{"text": "a"}\n{"text": "b"}\n')
    with opened("hub:./set") as corpus:
        assert b"".join(corpus.parts[0].blocks()) == b"a\nb"
        assert corpus.size_bytes is None


def test_many_words_are_described_in_one_line() -> None:
    write(a=b"", b=b"", c=b"", d=b"", e=b"")
    with opened("a", "b", "c", "d", "e") as corpus:
        assert corpus.description == "a, b, c and 2 more"


def test_parts_are_decoded_each_by_itself() -> None:
    write(a=b"\xc3", b=b"\xa9")
    with opened("a", "b") as corpus, pytest.raises(CorpusError, match=r"^a: byte 0xC3 at offset 0 is not utf-8"):
        text(corpus)
    seen: list[bytes] = []
    with opened("a", "alphabet", encoding="latin-1") as corpus:
        characters = "".join(corpus.text(watch=seen.append))
    assert characters == "Ã" + "abcdefghijklmnopqrstuvwxyz" * 100
    assert b"".join(seen) == characters.encode("latin-1")
