"""How fast the page opens and writes, in a real Chromium, and how large it is beside the model file in it.

    python benchmarks/page.py
    python benchmarks/page.py --models tanh:384 --weights int8 --rounds 9

Random weights, V = 222. `opens` is the time from a new browser's navigation to file://PAGE until the model is there,
`first` until the first continuation is on the screen, which a beam search has found: each round starts a browser with a
new profile. Characters a second are those of the page's own script in a worker of that browser, greedy and at
temperature 0.8, with the states kept as while the page writes; and of charrnn's sampler in Python, which is
onnxruntime, from the same file, on one thread. Rounds alternate. Prints a table, then a JSON line for each row: medians
and spreads.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from machine import machine
from playwright.sync_api import Browser, sync_playwright

from charrnn.export import Weights, export_onnx
from charrnn.model import CharRNN, ModelConfig
from charrnn.pages.writing_page import writing_page
from charrnn.runtime import OnnxModel, Sampler, SamplingConfig, stream_ids
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("\n" + "".join(map(chr, range(32, 253))))
ARGUMENTS = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
WAYS = {"greedy": {"temperature": 0.0}, "sampled": {"temperature": 0.8}}
SLICE_SECONDS = 0.5
WATCH = """
addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  if (!window.opens_ && !document.getElementById("work").hidden) window.opens_ = performance.now();
  if (!window.first_ && document.querySelector(".ghost")?.textContent) window.first_ = performance.now();
}).observe(document, { subtree: true, childList: true, attributes: true, characterData: true }));
"""
WORKER = """
onmessage = async ({ data: { block, ways, seconds } }) => {
  const { openModel, Reader, Sampler } = charrnn;
  const model = await openModel(block);
  const speeds = {};
  for (const [name, { temperature }] of Object.entries(ways)) {
    const reader = new Reader(model), sampler = new Sampler(model, { temperature, topK: 0, topP: 1 }, 1n);
    const write = (count) => { for (let i = 0; i < count; i++) reader.add(sampler.choose(model.logits)); };
    write(2000); // until the engine has compiled it
    const start = performance.now();
    let written = 0;
    for (; performance.now() - start < seconds * 1000; written += 200) write(200);
    speeds[name] = written / (performance.now() - start) * 1000;
  }
  postMessage(speeds);
};
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["tanh:384", "lstm:512"], help="CELL:H (default tanh:384 lstm:512)"
    )
    parser.add_argument("--weights", nargs="+", choices=["int8", "float32"], default=["int8", "float32"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        files = [made(Path(directory), model, weights) for model in arguments.models for weights in arguments.weights]
        for _ in range(arguments.rounds):
            for file in files:
                for name, value in a_round(playwright, file).items():
                    measured[file.stem][name].append(value)
        report(measured, {file.stem: file for file in files})


def made(directory: Path, model: str, weights: Weights) -> Path:
    """A model file, and its page beside it."""
    cell, H = model.split(":")
    torch.manual_seed(1)
    config = ModelConfig(vocabulary_size=len(VOCABULARY), hidden_size=int(H), cell=cell)  # type: ignore[arg-type]
    path = directory / f"{cell} H={H} {weights}.onnx"
    export_onnx(CharRNN(config), path, vocabulary=VOCABULARY, normaliser=Normaliser(), training={}, weights=weights)
    path.with_suffix(".html").write_bytes(writing_page(path.read_bytes(), "benchmark"))
    return path


def a_round(playwright: Any, file: Path) -> dict[str, float]:
    """Open the page of `file` in a new browser, and write in it and in Python."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, chromium_sandbox=os.getuid() != 0)
    values = {**opened(browser, file.with_suffix(".html")), **written(browser, file.with_suffix(".html"))}
    browser.close()
    return values | in_python(file)


def opened(browser: Browser, path: Path) -> dict[str, float]:
    page = browser.new_page()
    page.add_init_script(WATCH)
    page.goto(path.as_uri())
    page.wait_for_function("() => window.first_")
    values = page.evaluate("({ opens: opens_ / 1000, first: first_ / 1000 })")
    page.close()
    return dict(values)


def written(browser: Browser, path: Path) -> dict[str, float]:
    """Characters a second of the page's script in a worker, where there is no document."""
    html = path.read_text(encoding="utf-8")
    script = html.partition("<script>")[2].partition("</script>")[0]
    block = html.rpartition('id="model">')[2].partition("</script>")[0]
    page = browser.new_page()
    speeds = page.evaluate(
        """([script, message]) => new Promise((done) => {
          const worker = new Worker(URL.createObjectURL(new Blob([script])));
          worker.onmessage = ({ data }) => done(data);
          worker.postMessage(message);
        })""",
        [script + WORKER, {"block": block, "ways": WAYS, "seconds": SLICE_SECONDS}],
    )
    page.close()
    return dict(speeds)


def in_python(file: Path) -> dict[str, float]:
    model = OnnxModel.load(file)
    speeds = {}
    for name, settings in WAYS.items():
        ids = stream_ids(model, VOCABULARY.encode("\n"), length=None, sampler=Sampler(SamplingConfig(**settings), 1))
        for _ in range(3000):
            next(ids)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < SLICE_SECONDS:
            for _ in range(500):
                next(ids)
            count += 500
        speeds[f"python {name}"] = count / (time.perf_counter() - start)
    return speeds


def report(measured: dict[str, dict[str, list[float]]], files: dict[str, Path]) -> None:
    names = ("opens", "first", "greedy", "sampled", "python greedy", "python sampled")
    print(f"| model | file | page | {' | '.join(names)} |\n| --- | --- | --- {'| --- ' * len(names)}|")
    rows = []
    for title, values in measured.items():
        sizes = [files[title].stat().st_size, files[title].with_suffix(".html").stat().st_size]
        medians = {name: statistics.median(values[name]) for name in names}
        cells = [f"{medians[name]:.2f} s" if name in names[:2] else f"{medians[name]:,.0f}" for name in names]
        print(f"| {title} | {sizes[0] / 1e3:,.0f} KB | {sizes[1] / 1e3:,.0f} KB | {' | '.join(cells)} |")
        spread = {name: [min(values[name]), max(values[name])] for name in names}
        rows.append(
            {"model": title, "file_bytes": sizes[0], "page_bytes": sizes[1], "median": medians, "spread": spread}
        )
    about = machine("onnxruntime", "playwright")
    for row in rows:
        print(json.dumps({**row, "command": "python benchmarks/page.py", **about}))


if __name__ == "__main__":
    main()
