"""A push to a Hub on loopback, by huggingface_hub's own client: one commit, private, or one line and nothing."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import charrnn
from charrnn.errors import CharRNNError, ConfigError, HubError, RunError
from charrnn.sharing import upload
from charrnn.sharing.bundle import NAMES, Bundle
from tests.anything import one_line
from tests.cli.test_export import Command, command
from tests.hub_server import TOKEN, Fault, LoopbackHub

__all__ = ["command"]  # a fixture

NAME = "owner/novel"


@pytest.fixture
def logged_in(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


@pytest.fixture
def made(bundled: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The files are made once for all tests: that takes seconds, and is not what is tried here."""
    monkeypatch.setattr(upload, "bundle", lambda *_, **__: bundled)
    return bundled


def refused(run: Path, name: str = NAME, **options: object) -> str:
    with pytest.raises(HubError) as caught:
        charrnn.push(run, name, **options)  # type: ignore[arg-type]
    return one_line(caught.value).removeprefix(f"hf://{name}: ")


@pytest.mark.usefixtures("made")
def test_one_private_commit(logged_in: LoopbackHub, private_run: Path, bundled: Bundle) -> None:
    address = charrnn.push(private_run, NAME)
    repository = logged_in.repositories[NAME]
    assert repository.private
    assert len(repository.commits) == 2, "the Hub's own first one, and ours"
    assert address == f"hf://{NAME}@{repository.newest}"
    assert repository.files == bundled.files | {".gitattributes": b"*.onnx filter=lfs\n"}
    assert len([path for path in logged_in.paths("PUT") if path.startswith("/lfs/")]) == 4
    assert not [h for method, _, h in logged_in.requests if method == "PUT" and "Authorization" in h]
    assert charrnn.generate(address, length=26, temperature=0) == charrnn.generate(
        private_run, length=26, temperature=0
    )


@pytest.mark.usefixtures("made")
def test_again_makes_no_commit_and_another_run_only_one(
    logged_in: LoopbackHub, private_run: Path, made: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = charrnn.push(private_run, NAME)
    assert charrnn.push(private_run, f"hf://{NAME}") == first
    repository = logged_in.repositories[NAME]
    assert len(repository.commits) == 2
    repository.files["notes.md"] = b"of its owner"
    fewer = {name: data for name, data in made.files.items() if name != "model-int8.onnx"} | {"README.md": b"new"}
    monkeypatch.setattr(upload, "bundle", lambda *_, **__: Bundle(files=fewer, step=61))
    charrnn.push(private_run, NAME)
    assert len(repository.commits) == 3
    assert sorted(repository.files) == sorted({*fewer, ".gitattributes", "notes.md"}), "no part of the model before"


@pytest.mark.usefixtures("made")
def test_public_only_where_that_was_said(logged_in: LoopbackHub, private_run: Path) -> None:
    logged_in.add(NAME, {"README.md": b"of long ago"})
    message = "is public: say that everybody may see the model (--hub-public; in Python public=True), or name another"
    assert refused(private_run).startswith(message)
    assert list(logged_in.repositories[NAME].files) == ["README.md"]
    charrnn.push(private_run, NAME, public=True)
    assert set(NAMES) <= set(logged_in.repositories[NAME].files)
    charrnn.push(private_run, "owner/other", public=True)
    assert not logged_in.repositories["owner/other"].private


def test_without_a_login_nothing_is_computed_or_sent(
    hub: LoopbackHub, private_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "bundle", None)
    monkeypatch.setattr(sys, "stdin", None)
    assert refused(private_run).startswith("nobody is logged in to the Hub here: run `hf auth login`, or set HF_TOKEN")
    assert not hub.requests


@pytest.mark.usefixtures("made")
def test_a_login_that_is_kept_on_the_disk(hub: LoopbackHub, private_run: Path, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text(TOKEN)
    assert charrnn.push(private_run, NAME).startswith(f"hf://{NAME}@")


@pytest.mark.usefixtures("made")
def test_a_wrong_token_and_somebody_elses_place(
    logged_in: LoopbackHub, private_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refused(private_run, "other/novel").startswith("the Hub does not allow it (403): use a token that may")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert refused(private_run).startswith("the Hub does not accept the login (401): log in with `hf auth login`")
    assert not logged_in.repositories


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)


@pytest.mark.usefixtures("made", "no_waiting")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("POST", "/api/repos/create", status=500), "the Hub answers 500 'as the test wants it': try again later"),
        (Fault("GET", "/api/models/", status=500), "the Hub answers 500"),
        (Fault("POST", "/preupload/", status=404), "the Hub answers 404"),
        (Fault("POST", "/info/lfs/", status=500), "the Hub answers 500"),
        (Fault("PUT", "/lfs/", status=403), "the Hub does not allow it (403)"),
        (Fault("PUT", "/lfs/", status=500), "the Hub answers 500"),
        (Fault("PUT", "/lfs/", cut=-1), "the Hub cannot be reached ("),
        (Fault("POST", "/commit/", status=500), "the Hub answers 500"),
        (Fault("POST", "/commit/", status=413), "the Hub answers 413"),
        (Fault("POST", "/commit/", cut=3), "the Hub cannot be reached ("),
        (Fault("POST", "/api/repos/create", cut=-1), "the Hub cannot be reached ("),
    ],
    ids=str,
)
def test_what_fails_on_the_way_is_one_line_and_leaves_no_half(
    logged_in: LoopbackHub, private_run: Path, fault: Fault, message: str
) -> None:
    logged_in.faults = [fault]
    assert refused(private_run).startswith(message)
    for repository in logged_in.repositories.values():
        assert set(repository.files) in ({".gitattributes"}, {".gitattributes", *NAMES})
    logged_in.faults = []
    assert charrnn.push(private_run, NAME).startswith(f"hf://{NAME}@"), "the same command does it then"


@pytest.mark.usefixtures("made", "no_waiting")
def test_a_server_that_stumbles_is_asked_again(logged_in: LoopbackHub, private_run: Path) -> None:
    logged_in.faults = [Fault("PUT", "/lfs/", status=503, times=2)]
    assert charrnn.push(private_run, NAME)


@pytest.mark.usefixtures("made")
def test_offline(logged_in: LoopbackHub, private_run: Path, offline: Callable[[], None]) -> None:
    offline()
    assert refused(private_run) == "the Hub is not asked while offline: unset HF_HUB_OFFLINE"


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        ("novel", {}, HubError, "'novel' is no repository of the Hub: write OWNER/NAME"),
        (NAME, {"license": "Mine!"}, ConfigError, "the license is 'Mine!': give the Hub's identifier of one"),
        (NAME, {"checkpoint": "step-7"}, RunError, "has no checkpoint 'step-7' (it has: step-00000030, step-00000060)"),
        (NAME, {"opset": 12}, ConfigError, "opset is 12: it must be from 13 to 24"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(
    logged_in: LoopbackHub,
    private_run: Path,
    name: str,
    options: dict[str, object],
    kind: type[CharRNNError],
    message: str,
) -> None:
    with pytest.raises(kind) as caught:
        charrnn.push(private_run, name, **options)  # type: ignore[arg-type]
    assert message in one_line(caught.value)
    assert not logged_in.requests


def test_the_command(logged_in: LoopbackHub, private_run: Path, command: Command, made: Bundle) -> None:
    before = sorted(private_run.iterdir())
    status, stdout, stderr = command(private_run, "--hub", NAME)
    assert (status, stderr) == (0, "")
    newest = logged_in.repositories[NAME].newest
    size = sum(map(len, made.files.values())) / 1e3
    told = f"{logged_in.address}/{NAME} (private): {size:.0f} KB, from step 60; charrnn-sample hf://{NAME}@{newest}\n"
    assert stdout == told
    status, stdout, stderr = command(private_run, "--hub", "owner/open", "--hub-public")
    assert (status, stderr) == (0, "")
    assert "/owner/open (public): " in stdout
    assert sorted(private_run.iterdir()) == before, "nothing is written into the run"


def test_the_command_makes_what_it_sends(logged_in: LoopbackHub, private_run: Path, command: Command) -> None:
    flags = ["--checkpoint", "step-00000030", "--license", "mit", "--opset", 13]
    status, stdout, _ = command(private_run, "--hub", NAME, *flags)
    assert (status, ", from step 30; " in stdout) == (0, True)
    files = logged_in.repositories[NAME].files
    config = json.loads(files["config.json"])
    assert (config["training"]["step"], config["training"]["test_loss_nats"]) == (30, None)
    assert files["README.md"].startswith(b"---\nlicense: mit\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hub", NAME, "--quantize", "int8"], "--hub does not go with --quantize: it puts float32 and int8 there"),
        (["--hub", NAME, "--float16"], "--hub does not go with --float16"),
        (["--hub", NAME, "--output", "x.onnx"], "--hub does not go with --output"),
        (["--hub-public"], "--hub-public is for a model that goes to the Hub: name its repository, --hub OWNER/NAME"),
        (["--license", "mit"], "--license is for a model that goes to the Hub"),
        (["--hub", "novel"], "'novel' is no repository of the Hub: write OWNER/NAME"),
        (["--hub", NAME], f"hf://{NAME}: nobody is logged in to the Hub here: run `hf auth login`, or set HF_TOKEN"),
    ],
)
def test_mistakes_in_flags(
    hub: LoopbackHub,
    private_run: Path,
    command: Command,
    flags: list[str],
    message: str,
) -> None:
    status, stdout, stderr = command(private_run, *flags)
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"charrnn-export: error: [^\n]+\n", stderr)
    assert message in stderr
    assert not hub.requests
