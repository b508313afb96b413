import hashlib
import re
import sys
from pathlib import Path

import pytest

from charrnn.errors import CorpusError
from charrnn.text.download import Download, fetch
from tests.text.conftest import Server


def download(server: Server, path: str) -> Download:
    return Download(address=server.address(path), sha256=hashlib.sha256(server.body).hexdigest())


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["good", "unmeasured"])
def test_a_download_is_kept_under_its_checksum(server: Server, cache: Path, path: str) -> None:
    fetched = fetch(download(server, path), cache_dir=cache)
    assert fetched.read_bytes() == server.body
    assert files(cache) == [fetched]
    assert fetched.name == hashlib.sha256(server.body).hexdigest()


def test_the_second_time_needs_no_server(server: Server, cache: Path) -> None:
    first = fetch(download(server, "good"), cache_dir=cache)
    elsewhere = Download(address="http://127.0.0.1:9/good", sha256=download(server, "good").sha256)
    assert fetch(elsewhere, cache_dir=cache) == first
    assert server.requests == ["/good"]


def test_an_altered_file_in_the_cache_is_fetched_again(server: Server, cache: Path) -> None:
    fetched = fetch(download(server, "good"), cache_dir=cache)
    fetched.write_bytes(server.body[:-1])
    assert fetch(download(server, "good"), cache_dir=cache).read_bytes() == server.body
    assert server.requests == ["/good", "/good"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("truncated", "the connection broke off 7 bytes before the end; try again"),
        ("unmeasured_truncated", "its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64} as asked for"),
        ("altered", "its SHA-256 is [0-9a-f]{64}, not [0-9a-f]{64} as asked for"),
        ("missing", r"the server answers 404 \(Not Found\); check the address"),
        ("hanging", "cannot be fetched: timed out; try again, or fetch it by other means"),
        ("mute", "cannot be fetched: timed out; try again, or fetch it by other means"),
    ],
)
def test_a_bad_download_leaves_nothing(server: Server, cache: Path, path: str, message: str) -> None:
    with pytest.raises(CorpusError, match=f"^{re.escape(server.address(path))}: {message}") as error:
        fetch(download(server, path), cache_dir=cache, timeout_seconds=0.2)
    assert "\n" not in str(error.value)
    assert files(cache) == []
    assert list((cache / "downloads").iterdir()) == []


def test_a_bad_download_leaves_a_good_one_alone(server: Server, cache: Path) -> None:
    good = fetch(download(server, "good"), cache_dir=cache)
    with pytest.raises(CorpusError):
        fetch(Download(address=server.address("altered"), sha256="0" * 64), cache_dir=cache)
    assert files(cache) == [good]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/text", "http://", "http://[/", "http://a b/"])
def test_an_address_without_a_server_is_an_error(cache: Path, address: str) -> None:
    with pytest.raises(CorpusError, match=f"^{re.escape(address)}: cannot be fetched: "):
        fetch(Download(address=address, sha256="0" * 64), cache_dir=cache, timeout_seconds=0.2)


def test_a_cache_that_cannot_be_written_is_an_error(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match=r"the cache .*file/downloads cannot be used: .*; .*CHARRNN_CACHE"):
        fetch(download(server, "good"), cache_dir=tmp_path / "file")


@pytest.mark.parametrize(("options", "seen"), [({}, True), ({"progress": True}, True), ({"progress": False}, False)])
def test_a_terminal_sees_the_progress(
    server: Server,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, bool],
    seen: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fetch(download(server, "good"), cache_dir=cache, **options)  # type: ignore[arg-type]
    assert ("downloading" in capsys.readouterr().err) == seen
