"""What a run has made, asked of the run."""

import json
import math
import os
import pickle
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.errors import CharRNNError
from tests.conftest import Finished, command_line, finish


@pytest.fixture
def run(trained: Finished) -> charrnn.Run:
    return charrnn.Run(trained.run)


@pytest.fixture
def unfinished(trained: Finished, tmp_path: Path) -> charrnn.Run:
    """It has learnt and written, and has no model.onnx yet."""
    copy = shutil.copytree(trained.run, tmp_path / "run", ignore=shutil.ignore_patterns("model.onnx", "wandb"))
    records = [record for record in trained.records() if "best_step" not in record]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return charrnn.Run(copy)


def test_it_writes_what_the_command_writes(run: charrnn.Run) -> None:
    text = run.generate("abc", 50, seed=3, temperature=2)
    assert text == charrnn.generate(run.path, "abc", 50, seed=3, temperature=2)
    assert text != run.generate("abc", 50, seed=4, temperature=2)
    assert run.model is run.model, "it is loaded once"
    assert run.model_path == run.path / "model.onnx"


def test_the_metrics_are_columns(run: charrnn.Run, trained: Finished) -> None:
    columns, records = run.metrics, trained.records()
    assert columns.keys() == {name for record in records for name in record} - {"sample"}
    assert {len(column) for column in columns.values()} == {len(records)}
    assert columns["step"].dtype == columns["characters_seen"].dtype == np.int64
    for index, record in enumerate(records):
        row = {name: column[index] for name, column in columns.items() if not math.isnan(column[index])}
        assert row == {name: value for name, value in record.items() if name != "sample"}


def test_a_run_is_a_path(run: charrnn.Run) -> None:
    """So all that takes a run directory takes it; braces of a notebook's `!command` make it a word."""
    assert os.fspath(run) == f"{run}" == str(run.path)
    assert repr(run) == f"Run({str(run.path)!r})"
    assert charrnn.load(run).path == run.model_path
    assert charrnn.generate(run, "abc", 9, seed=1) == run.generate("abc", 9, seed=1)
    assert charrnn.CharRNN.from_pretrained(run).config.hidden_size == 30


def test_a_run_goes_to_another_process(run: charrnn.Run) -> None:
    text = run.generate(seed=1)  # with a session loaded, which nothing can pickle
    assert pickle.loads(pickle.dumps(run)).generate(seed=1) == text  # noqa: S301


def test_the_plot_is_a_figure_that_a_notebook_shows(run: charrnn.Run) -> None:
    figure = run.plot()
    figure.axes[0].set_title("mine")
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert [line.get_label().split()[0] for line in figure.axes[0].lines] == ["train", "validation", "test"]


def test_the_page_is_the_command_s(run: charrnn.Run, tmp_path: Path) -> None:
    made = run.page(tmp_path / "new" / "page.html")
    command = ["-m", "charrnn.cli.export", run.path, "--page", tmp_path / "its.html"]
    assert finish(run.path, command_line(*command)).returncode == 0
    assert made.read_bytes() == (tmp_path / "its.html").read_bytes()
    with pytest.raises(CharRNNError, match=r"has no checkpoint 'best' \(it has: none\)"):
        charrnn.Run(tmp_path).page(tmp_path / "other.html")


class Page(HTMLParser):
    """The elements of a page, which must all be closed, and its words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen, self.text, self._open = list[str](), "", list[str]()
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag != "img":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_a_notebook_shows_curve_figures_and_a_text(run: charrnn.Run, trained: Finished) -> None:
    page = Page(run._repr_html_())
    assert {"img", "table", "pre"} <= set(page.seen)
    (test,) = trained.records("test_loss_nats")
    assert f"{test['test_loss_nats']:.4g} nats" in page.text
    assert "alphabet, 2,600 characters" in page.text
    assert "24,000 characters, 60 steps" in page.text
    assert run.generate(length=400, temperature=0.7, seed=0) in page.text


def test_what_a_model_writes_is_text_and_no_page(unfinished: charrnn.Run) -> None:
    records = [json.loads(line) for line in (unfinished.path / "metrics.jsonl").read_text().splitlines()]
    records[-1]["sample"] = "<script>alert(1)</script>\x1b[2J"
    (unfinished.path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    page = Page(unfinished._repr_html_())
    assert "script" not in page.seen
    assert "<script>alert(1)</script>␛[2J" in page.text


def test_a_run_that_is_not_at_its_end(unfinished: charrnn.Run) -> None:
    assert "test_loss_nats" not in unfinished.metrics
    assert len(unfinished.metrics["validation_loss_nats"]) > 3
    page = Page(unfinished._repr_html_())
    assert "validation" in page.text
    assert "model.onnx" not in page.text
    with pytest.raises(CharRNNError, match=r"run: has no model.onnx yet: train it to its end, or `charrnn-export "):
        unfinished.generate()


def test_what_is_no_run(tmp_path: Path) -> None:
    run = charrnn.Run(tmp_path)
    assert run.metrics == {}
    with pytest.raises(CharRNNError, match="holds no run"):
        run._repr_html_()
