import hashlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.corpus import Corpus, open_corpus
from charrnn.text.download import Download
from tests.text.conftest import Server


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that words are relative paths."""
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def opened(*words: str, sha256: str = "", downloads: dict[str, Download] | None = None) -> Corpus:
    more = {} if downloads is None else {"downloads": downloads}
    return open_corpus(words, sha256=sha256, cache_dir=Path(os.environ["CHARRNN_CACHE"]), progress=False, **more)


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
    with pytest.raises(CorpusError, match=r"^x{999}: cannot be read: File name too long$"):
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
        "cache = pathlib.Path(os.environ['CHARRNN_CACHE'])\n"
        "with open_corpus(('-', 'after'), cache_dir=cache, progress=False) as corpus:\n"
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
        list(corpus.text(encoding="utf-8", errors="strict", watch=bytes))
    seen: list[bytes] = []
    with opened("a", "alphabet") as corpus:
        text = "".join(corpus.text(encoding="latin-1", errors="strict", watch=seen.append))
    assert text == "Ã" + "abcdefghijklmnopqrstuvwxyz" * 100
    assert b"".join(seen) == text.encode("latin-1")
