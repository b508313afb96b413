import errno
import os
import re
import time
from pathlib import Path

import pytest

from charrnn.errors import CorpusError
from charrnn.text.cache import publish, using, workspace


def test_a_workspace_is_gone_afterwards(tmp_path: Path) -> None:
    def interrupted() -> None:
        with workspace(tmp_path / "new") as path:
            (path / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_published_stays(tmp_path: Path) -> None:
    with workspace(tmp_path) as path:
        (path / "file").write_text("text")
        publish(path / "file", tmp_path / "published")
    assert [entry.name for entry in tmp_path.iterdir()] == ["published"]
    assert (tmp_path / "published").read_text() == "text"


def test_workspaces_of_killed_processes_are_removed_after_a_day(tmp_path: Path) -> None:
    with workspace(tmp_path) as abandoned, workspace(tmp_path) as running:
        os.utime(abandoned, (0, time.time() - 25 * 3600))
        os.utime(running, (0, time.time() - 23 * 3600))
        with workspace(tmp_path):
            assert not abandoned.exists()
            assert running.exists()


def test_the_directory_that_was_published_first_stays(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    publish(tmp_path / "first", tmp_path / "entry")
    publish(tmp_path / "second", tmp_path / "entry")
    assert (tmp_path / "entry" / "file").read_text() == "first"


def test_publishing_what_is_not_there_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "nothing", tmp_path / "entry")


def test_an_error_of_the_system_names_path_and_remedy(tmp_path: Path) -> None:
    expected = f"the cache {tmp_path} cannot be used: No space left on device; make room or set CHARRNN_CACHE to a"
    with pytest.raises(CorpusError, match=f"^{re.escape(expected)}"), using(tmp_path):
        Path("/dev/full").write_bytes(b"text")


def test_what_another_user_abandoned_is_in_nobody_s_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with workspace(tmp_path) as abandoned:
        os.utime(abandoned, (0, 0))
        with monkeypatch.context() as patch:
            patch.setattr(os, "rmdir", refuse)
            with workspace(tmp_path) as path:
                assert path.is_dir()
