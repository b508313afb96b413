"""Files from a Hub on loopback, through huggingface_hub's own client: whole, checked, kept, or one line."""

import errno
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import charrnn
from charrnn.errors import HubError
from charrnn.hub import HubAddress, check_files, fetch_folder, fetch_model_file, listing
from tests.anything import one_line
from tests.hub_server import TOKEN, Fault, LoopbackHub

MODEL, SMALL = bytes(range(256)) * 400, b"int8" * 99
NAME, ADDRESS = "owner/novel", "hf://owner/novel"


def content(model: bytes = MODEL, **more: bytes) -> dict[str, bytes]:
    """What a push puts there, as far as this room knows it."""
    files = {"model.onnx": model, "model-int8.onnx": SMALL, **more}
    return files | {"config.json": json.dumps({"files": listing(files)}).encode(), "README.md": b"never fetched"}


def refused(address: str) -> str:
    with pytest.raises(HubError) as caught:
        fetch_model_file(address)
    message = one_line(caught.value)
    assert message.startswith(f"{address}: ")
    return message.removeprefix(f"{address}: ")


def nothing_kept(tmp_path: Path) -> bool:
    """No file of a model, nor a part of one, is in the cache."""
    return not [path for path in (tmp_path / "hf").rglob("*") if "blobs" in path.parts and path.is_file()]


def test_a_file_is_fetched_once_and_only_what_is_needed(hub: LoopbackHub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.add(NAME, content())
    file = fetch_model_file(ADDRESS)
    assert file.read_bytes() == MODEL
    assert {path.name for path in file.parent.iterdir()} == {"model.onnx", "config.json"}
    fetched = len(hub.paths("GET"))
    assert fetch_model_file(ADDRESS) == file
    assert hub.paths("GET")[fetched:] == [f"/api/models/{NAME}/revision/main"], "the newest commit is asked for"
    assert fetch_model_file(f"{ADDRESS}/model-int8.onnx").read_bytes() == SMALL
    assert not [path for path in hub.paths() if "README" in path]
    assert capfd.readouterr() == ("", "")


def test_the_client_says_who_it_is_and_nothing_else(hub: LoopbackHub) -> None:
    hub.add(NAME, content())
    fetch_model_file(ADDRESS)
    agents = {headers["User-Agent"] for _, _, headers in hub.requests if "User-Agent" in headers}
    assert {re.sub(r"/[\d.]+\w*", "", agent) for agent in agents} == {"charrnn; hf_hub; python"}
    assert f"charrnn/{charrnn.__version__}" in agents.pop()
    assert not [headers for _, _, headers in hub.requests if "Authorization" in headers]
    assert {path.split("/")[1] for path in hub.paths()} <= {"api", "owner", "cdn"}
    assert all(NAME in path or path.startswith("/cdn/") for path in hub.paths())


def test_offline_the_second_time(hub: LoopbackHub, offline: Callable[[], None]) -> None:
    hub.add(NAME, content())
    file = fetch_model_file(ADDRESS)
    offline()
    asked = len(hub.requests)
    assert fetch_model_file(ADDRESS) == file
    assert refused(f"{ADDRESS}/model-int8.onnx").startswith("is not in the cache, and the Hub is not asked while off")
    assert refused("hf://owner/other").startswith("is not in the cache")
    assert len(hub.requests) == asked


def test_a_hub_that_is_not_there_gives_what_was_fetched(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without a network, of which huggingface_hub was not told."""
    hub.add(NAME, content())
    file = fetch_model_file(ADDRESS)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert fetch_model_file(ADDRESS) == file
    message = refused("hf://owner/other")
    assert re.match(r"the Hub cannot be reached \(.*\): try again \(what was fetched once is there offline", message)


def test_a_revision_is_pinned(hub: LoopbackHub, offline: Callable[[], None]) -> None:
    first, second = hub.add(NAME, content(b"first")), hub.add(NAME, content(b"second"))
    assert fetch_model_file(f"{ADDRESS}@{first}").read_bytes() == b"first"
    assert fetch_model_file(f"{ADDRESS}@{second}").read_bytes() == b"second"
    assert fetch_model_file(ADDRESS).read_bytes() == b"second"
    assert refused(f"{ADDRESS}@v7") == "has no such revision: name a branch, a tag or a commit that it has"
    asked = len(hub.requests)
    assert fetch_model_file(f"{ADDRESS}@{first}").read_bytes() == b"first"
    assert len(hub.requests) == asked, "a commit never changes: nobody is asked"
    offline()
    assert fetch_model_file(f"{ADDRESS}@{first}").read_bytes() == b"first"


def test_all_files_are_of_one_commit(hub: LoopbackHub) -> None:
    """Although a new one comes between two of them."""
    hub.add(NAME, content(b"old"))

    def push(body: bytes) -> bytes:
        hub.add(NAME, content(b"newer"))
        return body

    hub.faults = [Fault("GET", "/tree/", change=push)]
    assert fetch_model_file(ADDRESS).read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["missing", "private"])
def test_what_is_not_there_or_private(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "private":
        hub.add(NAME, content(), private=True)
    login = "log in with `hf auth login`, or set HF_TOKEN"
    assert refused(ADDRESS) == f"there is no such repository, or it is private: check the name, or {login}"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert refused(ADDRESS) == f"the Hub does not accept the login (401): {login}"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    if kind == "private":
        assert fetch_model_file(ADDRESS).read_bytes() == MODEL
        with_token = {path.split("/")[1] for _, path, headers in hub.requests if TOKEN in str(headers)}
        assert with_token == {"api", "owner"}, "where large files are gets no token"
    else:
        assert refused(ADDRESS).startswith("there is no such repository")


def test_what_is_gated(hub: LoopbackHub) -> None:
    hub.add(NAME, content(), gated=True)
    assert refused(ADDRESS).startswith("is gated: ask for access on its page, then log in with")


def test_another_kind_of_model(hub: LoopbackHub) -> None:
    hub.add(NAME, {"config.json": b"{}", "pytorch_model.bin": b"a pickle"})
    message = "has no model.onnx: name a model that `charrnn-export RUN --hub` has put there"
    assert refused(ADDRESS) == message
    assert not [path for path in hub.paths() if path.endswith(".bin")]
    assert "has no other.onnx: " in refused(f"{ADDRESS}/other.onnx")


def test_a_model_without_a_list_has_the_checks_of_its_file_alone(hub: LoopbackHub) -> None:
    hub.add(NAME, {"model.onnx": MODEL})
    assert fetch_model_file(ADDRESS).read_bytes() == MODEL


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "the Hub does not allow it (403): use a token that may, or a repository of your own"),
        (429, "the Hub asks for fewer requests (429): wait a few minutes"),
        (500, "the Hub answers 500 'as the test wants it': try again later"),
        (418, "the Hub answers 418 'as the test wants it': try again later"),
    ],
)
def test_refusals(hub: LoopbackHub, tmp_path: Path, status: int, message: str) -> None:
    hub.add(NAME, content())
    hub.faults = [Fault("GET", "/api/", status=status)]
    assert refused(ADDRESS) == message
    assert nothing_kept(tmp_path)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client sleeps between two tries."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)


@pytest.mark.usefixtures("no_waiting")
def test_a_connection_that_is_cut_once_is_taken_up_again(hub: LoopbackHub) -> None:
    hub.add(NAME, content())
    hub.faults = [Fault("GET", "/cdn/", cut=50_000, times=1)]
    assert fetch_model_file(ADDRESS).read_bytes() == MODEL
    assert len([path for path in hub.paths("GET") if "/cdn/" in path]) == 2


@pytest.mark.usefixtures("no_waiting")
def test_a_connection_that_is_always_cut_leaves_nothing(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(NAME, {"model.onnx": MODEL})
    hub.faults = [Fault("GET", "/cdn/", cut=0)]
    assert re.match(r"the Hub cannot be reached \(.*\): try again", refused(ADDRESS))
    assert nothing_kept(tmp_path)
    hub.faults = []
    assert fetch_model_file(ADDRESS).read_bytes() == MODEL


def flipped(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1])


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_was_changed_on_the_way_is_named_and_not_kept(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Its size is right, which is all that huggingface_hub looks at. Not every system has links."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", not links)
    hub.add(NAME, content())
    hub.faults = [Fault("GET", "/cdn/", change=flipped, times=1)]
    message = refused(ADDRESS)
    assert message.startswith("its model.onnx does not match its checksum in config.json: it was altered on the way")
    assert fetch_model_file(ADDRESS).read_bytes() == MODEL, "the damaged one is forgotten: it is fetched again"


def test_a_file_of_another_size_too(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(NAME, {"model.onnx": MODEL})
    hub.faults = [Fault("GET", "/cdn/", change=lambda body: body[:-5], times=1)]
    assert "Consistency check failed" in refused(ADDRESS)
    assert nothing_kept(tmp_path)


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"files": 3}', b"\xff\xfe"])
def test_a_damaged_config(hub: LoopbackHub, damage: bytes) -> None:
    files = content()
    hub.add(NAME, files)
    hub.faults = [Fault("GET", "/config.json", change=lambda body: damage.ljust(len(body)), times=1)]
    assert refused(ADDRESS) == "its config.json is damaged: try again, or name another revision"
    assert fetch_model_file(ADDRESS).read_bytes() == MODEL


def test_a_full_disk(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.add(NAME, content())

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert refused(ADDRESS).startswith(
        "No space left on device: free space or change permissions there, or set HF_HOME"
    )
    assert nothing_kept(tmp_path)


def test_a_cache_that_cannot_be_written(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.add(NAME, content())
    (tmp_path / "hf").write_text("a file where the cache should be")
    assert re.match(r".*/hf.*: (Not a directory|File exists): free space", refused(ADDRESS))


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert refused(ADDRESS) == "models of the Hub need huggingface_hub: pip install 'charrnn[hub]'"


def test_files_of_a_folder_of_ones_own_are_refused_and_left(tmp_path: Path) -> None:
    files = content()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    check_files(tmp_path, list(files), "folder")
    (tmp_path / "model.onnx").write_bytes(flipped(MODEL))
    with pytest.raises(HubError, match=r"^folder: its model.onnx does not match its checksum"):
        check_files(tmp_path, list(files), "folder")
    assert (tmp_path / "model.onnx").read_bytes() == flipped(MODEL)


def test_several_files(hub: LoopbackHub) -> None:
    hub.add(NAME, content(more=b"x"))
    folder = fetch_folder(HubAddress(repository=NAME), needed=("model.onnx",), wanted=("more", "config.json", "none"))
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "more", "config.json"}
