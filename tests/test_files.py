"""What every room does with files: where the cache is, what is written whole, what the system refuses to look at."""

from pathlib import Path

import pytest

from charrnn.errors import ConfigError, RunError
from charrnn.files import cache_dir, looking_at


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("CHARRNN_CACHE")
    assert cache_dir() == tmp_path / "xdg" / "charrnn"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / "home" / ".cache" / "charrnn"


def test_without_a_home_directory_the_cache_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user the system does not know."""
    for name in ("CHARRNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(ConfigError, match=r"^there is no home directory for the cache: set CHARRNN_CACHE to a directo"):
        cache_dir()


def test_a_name_that_is_too_long_to_be_one() -> None:
    path = Path("x" * 300)
    with (
        pytest.raises(RunError, match=r"^x+: cannot be looked at \(File name too long\): name another path$"),
        looking_at(path),
    ):
        path.exists()
