"""What a run has made, at hand: text, figures, the curve."""

import base64
import math
import os
import tempfile
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from charrnn.console import told_bytes, visible
from charrnn.errors import RunError
from charrnn.pages.page_file import write_page
from charrnn.pages.writing_page import title_of
from charrnn.runs.choice import choose_checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.runs.export_run import export_run
from charrnn.runs.figure import ShownFigure
from charrnn.runs.messages import warn
from charrnn.runs.metrics import MetricsFile, Record
from charrnn.runs.plot import LossPlot
from charrnn.runtime import OnnxModel, generate
from charrnn.sampling_config import SamplingSettings

__all__ = ["Run"]

_SAMPLE_CHARS = 400


class Run(os.PathLike[str]):
    """A run directory: that of `charrnn.train`, or any that charrnn has made, by its path.

    It is a path, too: what takes a run directory takes it, such as `charrnn.push(run, "owner/name")`. It reads the
    directory whenever it is asked, so that a run can be watched while another process trains it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        """The run directory."""

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)  # for `!charrnn-export {run}` in a notebook

    def __reduce__(self) -> tuple[type["Run"], tuple[Path]]:
        return Run, (self.path,)

    @property
    def model_path(self) -> Path:
        """Its model.onnx, for any runtime. Raises RunError where the run has none yet."""
        path = RunDirectory(self.path).model
        if not path.is_file():
            raise RunError(f"{self.path}: has no model.onnx yet: train it to its end, or `charrnn-export {self.path}`")
        return path

    @cached_property
    def model(self) -> OnnxModel:
        """Its model.onnx, loaded: streams, scores, traces of its state. Raises RunError, ModelFileError."""
        return OnnxModel.load(self.model_path)

    def generate(
        self, prompt: str = "", length: int = 200, *, seed: int | None = None, **settings: Unpack[SamplingSettings]
    ) -> str:
        """The normalised prompt and `length` more characters: see `charrnn.generate`."""
        return generate(self.model, prompt, length, seed=seed, **settings)

    def page(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to write with in a browser, the best checkpoint in int8 inside, to `path`; returns that.

        As `charrnn-export RUN --page` does. Raises RunError where the run has no checkpoint, or the disk no room.
        """
        directory = RunDirectory(self.path)
        with tempfile.TemporaryDirectory(prefix="charrnn-page-") as scratch:
            model = Path(scratch) / "model-int8.onnx"
            export_run(directory, choose_checkpoint(directory, "best", warn), model, weights="int8")
            write_page(model, Path(path), title_of(self.path.resolve()))
        return Path(path)

    @property
    def metrics(self) -> dict[str, NDArray[Any]]:
        """metrics.jsonl in columns of equal length, ready for `pandas.DataFrame`: NaN where a record lacks a value.

        `step` and `characters_seen` are integers, all else is float64; the names are those of docs/training.md.
        """
        records = self._records()
        names = dict.fromkeys(name for record in records for name in record if name != "sample")
        columns = {name: [record.get(name, math.nan) for record in records] for name in names}
        whole = {"step", "characters_seen"}
        return {name: np.array(values, np.int64 if name in whole else np.float64) for name, values in columns.items()}

    def plot(self) -> ShownFigure:
        """Loss over the characters seen, as a matplotlib Figure that a notebook shows."""
        return self._figure(self._records())

    def _figure(self, records: list[Record]) -> ShownFigure:
        return LossPlot.of(records, title=self.path.name).figure()

    def _records(self) -> list[Record]:
        return MetricsFile(RunDirectory(self.path).metrics).read()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the curve, the figures, a text of the model."""
        records = self._records()
        curve = base64.b64encode(self._figure(records).png()).decode()
        row = '<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>'
        rows = "".join(row.format(escape(name), escape(value)) for name, value in self._facts(records))
        return (
            f'<img src="data:image/png;base64,{curve}" alt="loss" style="max-width: 100%; width: 640px">'
            f"<table>{rows}</table>"
            f'<pre style="font-family: monospace; white-space: pre-wrap">{escape(visible(self._sample(records)))}</pre>'
        )

    def _sample(self, records: list[Record]) -> str:
        """What the model writes; of a run that is not at its end, what it wrote last."""
        if RunDirectory(self.path).model.is_file():
            return self.generate(length=_SAMPLE_CHARS, temperature=0.7, seed=0)
        return next((str(record["sample"]) for record in reversed(records) if "sample" in record), "")

    def _facts(self, records: list[Record]) -> list[tuple[str, str]]:
        directory = RunDirectory(self.path)
        description = directory.read_description()
        text, model = description["text"], description["config"]["model"]
        facts = [
            ("run", str(self.path)),
            ("text", f"{text['description']}, {text['characters']:,} characters"),
            ("model", f"{model['num_layers']} x {model['hidden_size']} {model['cell']}"),
        ]
        if records:
            facts.append(
                ("trained on", f"{records[-1]['characters_seen']:,} characters, {records[-1]['step']:,} steps")
            )
        for split in ("validation", "test"):
            scored = [record for record in records if f"{split}_loss_nats" in record]
            if scored:
                facts.append((split, _scores(min(scored, key=lambda r: float(r[f"{split}_loss_nats"])), split)))
        if directory.model.is_file():
            facts.append(("model.onnx", told_bytes(directory.model.stat().st_size)))
        return facts


def _scores(record: Record, split: str) -> str:
    loss, bpc, accuracy = (float(record[f"{split}_{name}"]) for name in ("loss_nats", "bpc", "accuracy"))
    step = record.get("best_step", record["step"])
    return f"{loss:.4g} nats, {bpc:.4g} bits per character, accuracy {accuracy:.2%} (step {step:,})"
