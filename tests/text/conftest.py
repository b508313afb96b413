from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of this test alone."""
    path = tmp_path / "cache"
    monkeypatch.setenv("CHARRNN_CACHE", str(path))
    return path
