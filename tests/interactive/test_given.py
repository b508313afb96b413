"""Settings as keyword arguments: those of the command line, by their names, and one line for what is none."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from charrnn.cli.train import parse
from charrnn.config import TrainConfig
from charrnn.errors import ConfigError
from charrnn.interactive.given import TrainSettings, config_of
from tests.anything import one_line


def test_what_the_command_takes_is_taken_here() -> None:
    asked = config_of(
        ["alphabet"],
        {"minutes": 2, "seed": 3, "run_dir": Path("runs/a"), "model": {"cell": "gru", "hidden_size": 9}, "log.every": 5}
        | {"text": {"normaliser": ["lowercase", "lf"]}},
    )
    flags = "--minutes 2 --seed 3 --run-dir runs/a --model.cell gru --model.hidden-size 9 --log.every 5"
    assert asked == parse(["alphabet", *flags.split(), "--text.normaliser", "lowercase", "lf"])


@pytest.mark.parametrize("words", [["alphabet"], ["war-and-peace", "a.txt", "b.txt"], ["a.txt", "b.txt"]])
def test_presets_and_texts(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        Path(name).write_text("text")
    assert config_of(words, {}) == parse(words)
    assert config_of([Path(word) if "." in word else word for word in words], {}) == parse(words)


def test_numbers_of_numpy_are_numbers() -> None:
    config = config_of(["alphabet"], {"epochs": np.int64(3), "minutes": np.float32(0.5), "checkpoint_minutes": 2})
    assert (config.epochs, config.minutes, config.checkpoint_minutes) == (3, 0.5, 2.0)
    assert [type(value) for value in (config.epochs, config.minutes, config.checkpoint_minutes)] == [int, float, float]


def test_one_string_is_a_list_of_one() -> None:
    assert config_of(["alphabet"], {"text": {"normaliser": "lowercase"}}).text.normaliser == ("lowercase",)
    assert config_of(["text"], {"text": {"corpus": Path("a.txt")}}).text.corpus == ("a.txt",)


def test_an_editor_knows_every_setting() -> None:
    hidden = {"preset", "behaviour", "left_open", "given"}
    assert list(get_type_hints(TrainSettings)) == [f.name for f in fields(TrainConfig) if f.name not in hidden]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiden_size": 3}, r"hiden_size is no setting: did you mean model=\{'hidden_size': 3\}\?"),
        ({"hidden_size": 3}, r"hidden_size is no setting: did you mean model=\{'hidden_size': 3\}\?"),
        ({"model": {"sizes": 3, "cel": "gru"}}, r"model.sizes is no setting: did you mean batch=\{'size': 3\}\?"),
        ({"epoch": 3}, r"epoch is no setting: did you mean epochs=3\?"),
        ({"zzz": 3}, "zzz is no setting: `charrnn-train text --help` lists them"),
        ({"behaviour": 1}, "behaviour is no setting: `charrnn-train text --help` lists them"),
        (
            {"model": "lstm"},
            r"model is 'lstm': it must be a dict of its settings, such as model=\{'embedding_",
        ),
        ({"model": {"cell": "rnn"}}, "model.cell is 'rnn': it must be one of 'tanh', 'gru', 'lstm'"),
        ({"epochs": "3"}, "epochs is '3': it must be a whole number"),
        ({"epochs": 2.5}, "epochs is 2.5: it must be a whole number"),
        ({"epochs": True}, "epochs is True: it must be a whole number"),
        ({"minutes": "10"}, "minutes is '10': it must be a number"),
        ({"minutes": None}, "minutes is None: it must be a number"),
        ({"minutes": [1]}, r"minutes is \[1\]: it must be a number"),
        ({"minutes": -1}, "minutes is -1.0: it must be from 0"),
        ({"run_dir": 3}, "run_dir is 3: it must be a string"),
        ({"text": {"normaliser": 3}}, "text.normaliser is 3: it must be a list of strings"),
        ({"text": {"normaliser": [3]}}, "text.normaliser is 3: it must be a string"),
        ({"mixed_precision": ["no"]}, r"mixed_precision is \['no'\]: it must be one of 'no', 'auto'"),
    ],
)
def test_what_is_no_setting_or_no_value_of_it(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        config_of(["alphabet"], settings)
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "there is no text: name a file, as in charrnn.train"),
        (["text"], "the preset text has no text of its own: name a file beside it, or instead"),
        (["war-and-peas"], "'war-and-peas' is neither a preset nor a file: did you mean war-and-peace?"),
        (["a tale\nof a text"], r"the text is 'a tale\\nof a text'...: give the name of a file that has it"),
        (["a tale " * 10**6], "the text is 'a tale a tale a tale'...: give the name of a file that has it"),
        ([b"novel.txt"], "the text is b'novel.txt': it must be a string"),
    ],
)
def test_what_is_no_text(texts: list[Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(texts, {})
    assert str(caught.value).startswith(message.replace(r"\\n", r"\n"))
    assert len(one_line(caught.value)) < 200


def test_the_defaults_are_the_preset_s() -> None:
    assert config_of(["alphabet"], {}) == replace(parse(["alphabet"]), given=())
