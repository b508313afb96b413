import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from charrnn.errors import CorpusError
from charrnn.text.hub import hub_part

ROWS = [
    {"text": "One\r\ntwo é", "n": 1, "title": "A"},
    {"text": None, "n": 2, "title": "B"},
    {"text": "", "n": 3, "title": "C"},
]
ROWS += [{"text": f"row {number}", "n": number, "title": "D"} for number in range(3, 250)]


def jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def parquet(path: Path, rows: list[dict[str, object]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    path.mkdir()
    return path


def read(word: str, cache: Path, *, column: str = "text", split: str = "train") -> str:
    part = hub_part(word, column=column, split=split, cache_dir=cache)
    assert b"".join(part.blocks()) == b"".join(part.blocks())
    assert part.encoding == "utf-8"
    return b"".join(part.blocks()).decode()


@pytest.mark.parametrize("write", [jsonl, parquet])
def test_rows_are_joined_by_line_feeds(
    data_set: Path, cache: Path, write: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    write(data_set / f"train.{write.__name__}", ROWS)
    expected = "\n".join(str(row["text"] or "") for row in ROWS)
    assert read(f"hub:{data_set}", cache) == expected
    assert read(f"hub:{data_set}", cache, column="title") == "\n".join(str(row["title"]) for row in ROWS)
    assert capfd.readouterr() == ("", "")


def test_split_and_configuration_are_chosen(data_set: Path, cache: Path) -> None:
    for name in ("small", "large"):
        (data_set / name).mkdir()
        jsonl(data_set / name / "test.jsonl", [{"text": name}])
    card = "".join(f"- config_name: {name}\n  data_dir: {name}\n" for name in ("small", "large"))
    (data_set / "README.md").write_text(f"---\nconfigs:\n{card}---\n")
    assert read(f"hub:{data_set}:small", cache, split="test") == "small"
    assert read(f"hub:{data_set}:large", cache, split="test") == "large"
    with pytest.raises(CorpusError, match=r"Config name is missing. .*'small'"):
        read(f"hub:{data_set}", cache, split="test")


@pytest.mark.parametrize("column", ["body", "n"])
def test_a_missing_column_names_the_columns(data_set: Path, cache: Path, column: str) -> None:
    jsonl(data_set / "train.jsonl", ROWS)
    expected = f"no text column '{column}'; set --text.column to one of its text columns: text, title$"
    with pytest.raises(CorpusError, match=expected):
        read(f"hub:{data_set}", cache, column=column)


def test_a_data_set_without_text_says_so(data_set: Path, cache: Path) -> None:
    jsonl(data_set / "train.jsonl", [{"n": 1}])
    with pytest.raises(CorpusError, match=r"its text columns: none$"):
        read(f"hub:{data_set}", cache)


def test_what_cannot_be_loaded_is_one_line(data_set: Path, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        CorpusError, match=r"cannot load split 'train' of this data set: .*doesn't contain any data files"
    ):
        read(f"hub:{data_set}", cache)
    with pytest.raises(CorpusError, match="cannot load split 'train' of this data set: Couldn't find any data file"):
        read(f"hub:{data_set}/nowhere", cache)
    jsonl(data_set / "train.jsonl", ROWS)
    with pytest.raises(CorpusError, match="cannot load split 'nope' of this data set: Unknown split"):
        read(f"hub:{data_set}", cache, split="nope")
    (data_set / "train.jsonl").write_text('{"text": "a"}\n{"text": broken\n')
    with pytest.raises(CorpusError, match=r"cannot load split 'train' of this data set: .*JSON") as error:
        read(f"hub:{data_set}", cache)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
