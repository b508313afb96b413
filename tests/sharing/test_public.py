import json
from typing import Any

import pytest

from charrnn.config import TrainConfig
from charrnn.runs.directory import as_json
from charrnn.sharing.public import public_corpus, public_origin, public_settings
from charrnn.text.settings import TextConfig


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("alphabet", "alphabet"),
        ("/home/eve/novel.txt", "novel.txt"),
        ("../../eve/novel.txt", "novel.txt"),
        ("C:\\Users\\eve\\novel.txt", "novel.txt"),
        ("/home/eve/texts/", "texts"),
        ("/home/eve/**/*.py", "*.py"),
        ("https://eve:pw@intranet.example/a/novel.txt?token=1#x", "novel.txt"),
        ("hub:eve/books:plain", "hub:eve/books:plain"),
        ("hub:/home/eve/books", "books"),
        ("hub:books", "books"),
        ("-", "standard input"),
        *((word, "a text") for word in ("/home/eve", "/home/eve/", "~", "~eve", ".", "..", "/", "")),
    ],
)
def test_a_corpus_has_its_last_name(monkeypatch: pytest.MonkeyPatch, word: str, name: str) -> None:
    monkeypatch.setenv("HOME", "/home/eve")
    assert public_corpus({"text": {"corpus": [word]}}) == name
    assert public_corpus({"text": {"corpus": [word, "other.txt"]}}) == f"{name}, other.txt"


def test_without_a_home_or_a_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert public_corpus({"text": {"corpus": ["/home/eve/novel.txt"]}}) == "novel.txt"
    assert public_corpus({}) == "a text"


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("", ""),
        ("hf://owner/name", "owner/name"),
        ("hf://owner/name@main", "owner/name"),
        ("runs/novel", "another model"),
        ("/home/eve/runs/novel", "another model"),
    ],
)
def test_where_it_started(source: str, origin: str) -> None:
    assert public_origin({"init_from": source}) == origin


def test_settings_that_are_not_known_stay_here() -> None:
    """What a later setting says nobody knows yet: only what is listed leaves."""
    config: dict[str, Any] = as_json(
        TrainConfig(text=TextConfig(corpus=("mallory",)), run_dir="mallory", init_from="mallory")
    )
    config |= {"later": "mallory"}
    config["text"] |= {"later": "mallory"}
    config["log"]["project"] = "mallory"
    settings = public_settings(config)
    assert "mallory" not in json.dumps(settings)
    assert settings["optimiser"] == config["optimiser"]
    assert settings["text"]["validation_fraction"] == 0.05
