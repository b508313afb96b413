"""How fast characters come out of a model: charrnn's sampler beside PyTorch, the notebook's loop and plain onnxruntime.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --cell gru lstm --sizes 128 512 --only write      # beside nn.GRU and nn.LSTM

One thread. All contestants write from the same weights, alternating, `--rounds` times; a ratio is that of two which
stood in one round, to the step of torch's layer of the same cell. Prints tables, then one JSON line per row with the
median, the spread and what it was measured on. `start` measures whole processes, from their start to the first
character on a terminal.
"""

import argparse
import itertools
import json
import os
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import machine
from torch import Tensor, nn

import charrnn
from charrnn.export import export_onnx
from charrnn.model import CharRNN, ModelConfig
from charrnn.runtime import Sampler, SamplingConfig, stream_ids
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("\n" + "".join(map(chr, range(32, 88))))
SIZES = (128, 500, 1024)
PEERS = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
"""The library's layer for each cell."""
STREAMS = 64
TEMPERATURE = 0.8
TOP = {"": {}, ", top-k 10": {"top_k": 10}, ", top-p 0.9": {"top_p": 0.9}}
PROMPT_CHARACTERS = 10_000
SLICE_SECONDS = 0.15
"""How long one contestant writes in a round."""

Write = Callable[[int], object]
"""Writes as many characters as it is told, in each of its streams."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each contestant (default 9)")
    parser.add_argument("--only", choices=["write", "read", "start"], help="one part (default: all)")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help=f"hidden sizes (default {SIZES})")
    parser.add_argument("--cell", nargs="+", choices=PEERS, default=["tanh"], help="(default tanh)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    with tempfile.TemporaryDirectory() as directory:
        for cell, H in itertools.product(arguments.cell, arguments.sizes):
            files = Files(Path(directory), cell, H)
            if arguments.only in (None, "write"):
                table += compare(files.title, one_stream(files), arguments.rounds, "us a character")
                title = f"{files.title}, {STREAMS} streams"
                table += compare(title, many_streams(files), arguments.rounds, "us a step of all")
            if arguments.only in (None, "read"):
                table += reading(files, arguments.rounds)
        if arguments.only in (None, "start"):
            for cell in arguments.cell:
                table += starting(Files(Path(directory), cell, 500), arguments.rounds)
    report(table, arguments)


# Models


class Files:
    """One set of random weights, in torch and as model files."""

    def __init__(self, directory: Path, cell: str, H: int) -> None:
        torch.manual_seed(H)
        self.title = f"{cell}, H={H}"
        self.layer = f"nn.{PEERS[cell].__name__}"
        self.model = CharRNN(ModelConfig(vocabulary_size=len(VOCABULARY), hidden_size=H, cell=cell)).eval()
        with torch.no_grad():
            self.model.fc.weight.mul_(10)  # a trained model is about as sure of itself
        self.fp32, self.eight_bit = directory / f"{cell}-{H}.onnx", directory / f"{cell}-{H}-int8.onnx"
        for path, weights in ((self.fp32, "float32"), (self.eight_bit, "int8")):
            export_onnx(
                self.model,
                path,
                vocabulary=VOCABULARY,
                normaliser=Normaliser.from_list([]),
                training={},
                weights=weights,
            )


TORCH_START = f"""
import sys
import torch
from torch import nn
torch.set_num_threads(1)
weights = torch.load(sys.argv[1], weights_only=True)
V, E = weights["embedding.weight"].shape
H = weights["fc.weight"].shape[1]
embedding, rnn, fc = nn.Embedding(V, E), getattr(nn, sys.argv[2])(E, H, batch_first=True), nn.Linear(H, V)
nn.ModuleDict(dict(embedding=embedding, rnn=rnn, fc=fc)).load_state_dict(weights)
token, state = torch.zeros(1, 1, dtype=torch.int64), None
with torch.inference_mode():
    while True:
        outputs, state = rnn(embedding(token), state)
        token = torch.multinomial(torch.softmax(fc(outputs[:, -1]) / {TEMPERATURE}, dim=-1), 1)
        print(chr(32 + token.item()), end="", flush=True)
"""
"""What a user of torch would have: weights from a file, characters until it is ended, nothing else imported."""


class TorchRnn(nn.Module):
    """The same function by the library's recurrence."""

    def __init__(self, model: CharRNN) -> None:
        super().__init__()
        V, E, H = model.config.vocabulary_size, model.config.embedding_size, model.config.hidden_size
        layer = PEERS[model.config.cell]
        self.embedding, self.rnn, self.fc = nn.Embedding(V, E), layer(E, H, batch_first=True), nn.Linear(H, V)
        values = [model.parameter(name, 0) for name in ("W_e", "W_h", "b_e", "b_h")]
        with torch.no_grad():
            self.embedding.weight.copy_(model.embedding.weight)
            for parameter, value in zip(self.rnn.parameters(), values, strict=True):
                parameter.copy_(value)
        self.fc.load_state_dict(model.fc.state_dict())

    def forward(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, state = self.rnn(self.embedding(tokens), state)
        return self.fc(outputs[:, -1]), state


# Contestants


@torch.inference_mode()
def by_torch(model: CharRNN, rows: int) -> Iterator[str]:
    """The library's step, and its draw."""
    network, state = TorchRnn(model), None
    token = torch.zeros(rows, 1, dtype=torch.int64)
    while True:
        logits, state = network(token, state)
        token = torch.multinomial(torch.softmax(logits / TEMPERATURE, dim=-1), 1)
        yield VOCABULARY.characters[token[0].item()]


@torch.inference_mode()
def by_notebook(model: CharRNN) -> Iterator[str]:
    """`generate_text` of the notebook: the equations of `tanh` as they are written, one character at a time."""
    W_e, b_e, W_h, b_h = (model.parameter(name, 0) for name in ("W_e", "b_e", "W_h", "b_h"))
    state, token = torch.zeros(1, len(b_h)), torch.zeros(1, dtype=torch.int64)
    while True:
        embedded = model.embedding(token)
        state = torch.tanh(embedded @ W_e.T + b_e + state @ W_h.T + b_h)
        probabilities = torch.softmax(model.fc(state) / TEMPERATURE, dim=-1)
        token = torch.multinomial(probabilities, 1)[0]
        yield VOCABULARY.characters[token.item()]


def by_plain_onnxruntime(path: Path) -> Iterator[str]:
    """What one writes first: a run a character, softmax and choice in numpy."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shapes = {node.name: node.shape for node in session.get_inputs() if node.name != "token"}
    states = {name: np.zeros((L, 1, H), np.float32) for name, (L, _, H) in shapes.items()}
    outputs = ["logits", *(f"next_{name}" for name in states)]
    token, rng = 0, np.random.default_rng(0)
    while True:
        logits, *after = session.run(outputs, {"token": np.array([token]), **states})
        states = dict(zip(states, after, strict=True))
        weights = np.exp((logits[0] - logits.max()) / TEMPERATURE)
        token = int(rng.choice(len(VOCABULARY), p=weights / weights.sum()))
        yield VOCABULARY.characters[token]


def by_charrnn(path: Path, rows: int = 1, **settings: Any) -> Iterator[object]:
    model = charrnn.load(path)
    if rows == 1:
        return model.stream(temperature=TEMPERATURE, seed=0, **settings)
    sampler = Sampler(SamplingConfig(temperature=TEMPERATURE, **settings), 0, rows)
    return stream_ids(model, np.array([0]), length=None, sampler=sampler)


def one_stream(files: Files) -> dict[str, Iterator[object]]:
    weights = {"fp32": files.fp32, "8-bit": files.eight_bit}
    notebook = {"the notebook's generate_text": by_notebook(files.model)} if files.model.config.cell == "tanh" else {}
    return {
        f"{files.layer} step, torch.multinomial": by_torch(files.model, 1),
        **notebook,
        "session.run, rng.choice": by_plain_onnxruntime(files.fp32),
    } | {
        f"charrnn, {kind}{name}": by_charrnn(path, **settings)
        for kind, path in weights.items()
        for name, settings in TOP.items()
    }


def many_streams(files: Files) -> dict[str, Iterator[object]]:
    return {
        f"{files.layer} step, torch.multinomial": by_torch(files.model, STREAMS),
        "charrnn, fp32": by_charrnn(files.fp32, STREAMS),
        "charrnn, 8-bit": by_charrnn(files.eight_bit, STREAMS),
    }


# Measurements


def compare(title: str, contestants: dict[str, Iterator[object]], rounds: int, unit: str) -> list[dict[str, Any]]:
    """Microseconds for each position of each contestant, and its ratio to the first of them."""
    counts = {name: characters_in_a_slice(contestant) for name, contestant in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            times[name].append(seconds(contestant, counts[name]) / counts[name] * 1e6)
    peer = next(iter(times.values()))
    return [
        row(title, name, unit, values, [theirs / ours for theirs, ours in zip(peer, values, strict=True)])
        for name, values in times.items()
    ]


def characters_in_a_slice(contestant: Iterator[object]) -> int:
    count = 16
    # The least of three: a pause of the machine would leave a slice that is shorter than a block written ahead.
    while (taken := min(seconds(contestant, count) for _ in range(3))) < SLICE_SECONDS / 4:
        count *= 2
    return max(1, round(count * SLICE_SECONDS / taken))


def seconds(contestant: Iterator[object], count: int) -> float:
    begin = time.perf_counter()
    deque(islice(contestant, count), maxlen=0)
    return time.perf_counter() - begin


def reading(files: Files, rounds: int) -> list[dict[str, Any]]:
    """A long prompt, from the call to the first character, for each of its characters."""
    rng = np.random.default_rng(0)
    prompt = VOCABULARY.decode(rng.integers(0, len(VOCABULARY), PROMPT_CHARACTERS))
    ids = torch.from_numpy(VOCABULARY.encode(prompt).astype(np.int64))
    network = TorchRnn(files.model)
    models = {kind: charrnn.load(path) for kind, path in (("fp32", files.fp32), ("8-bit", files.eight_bit))}

    def step_by_step() -> None:
        state = models["fp32"].initial_state(1)
        for token in ids.numpy()[:, None]:
            _, state = models["fp32"].step(token, state)

    @torch.inference_mode()
    def at_once() -> None:
        network(ids[None], None)

    W, h = files.model.parameter("W_h", 0).detach().numpy(), np.zeros(files.model.config.hidden_size, np.float32)

    def products() -> None:
        for _ in range(PROMPT_CHARACTERS):
            np.dot(W, h)

    readers: dict[str, Callable[[], object]] = {
        f"{files.layer} on the whole prompt": at_once,
        "the products W_h h alone, in numpy": products,
        "charrnn, fp32, a step a character": step_by_step,
        "charrnn, fp32": lambda: next(models["fp32"].stream(prompt)),
        "charrnn, 8-bit": lambda: next(models["8-bit"].stream(prompt)),
    }
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(min(rounds, 5) + 1):
        for name, read in readers.items():
            begin = time.perf_counter()
            read()
            times[name].append((time.perf_counter() - begin) / PROMPT_CHARACTERS * 1e6)
    peer = next(iter(times.values()))
    title = f"{files.title}, a prompt of {PROMPT_CHARACTERS:,} characters"
    return [  # the first round is to warm up
        row(title, name, "us a character", values[1:], [a / b for a, b in zip(peer[1:], values[1:], strict=True)])
        for name, values in times.items()
    ]


def starting(files: Files, rounds: int) -> list[dict[str, Any]]:
    """Whole processes, in milliseconds and MB."""
    weights = files.fp32.with_suffix(".pt")
    torch.save(TorchRnn(files.model).state_dict(), weights)
    ours = [sys.executable, "-m", "charrnn.cli.sample"]
    commands = {
        "torch": [sys.executable, "-c", TORCH_START, str(weights), files.layer.removeprefix("nn.")],
        "charrnn-sample": [*ours, str(files.fp32), "--length", str(10**9)],
        "charrnn-sample, 8-bit": [*ours, str(files.eight_bit), "--length", str(10**9)],
    }
    starts: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    helps = []
    for _ in range(rounds):
        for name, command in commands.items():
            starts[name].append(until_first_character(command))
        helps.append(cpu_seconds([*ours, "--help"]) * 1e3)
    table, title = [], f"{files.title}, a cold start"
    for place, unit in enumerate(("ms to the first character", "ms of CPU to it", "MB resident at most")):
        for name, values in starts.items():
            ratios = [mine[place] / peer[place] for mine, peer in zip(values, starts["torch"], strict=True)]
            table.append(row(title, name, unit, [value[place] for value in values], ratios))
    return [*table, row(title, "charrnn-sample --help", "ms of CPU", helps, None)]


def until_first_character(command: list[str]) -> tuple[float, float, float]:
    """Wall milliseconds, CPU milliseconds and peak resident MB until the process writes to its terminal."""
    terminal, its_end = pty.openpty()
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=its_end, stderr=subprocess.DEVNULL) as process:
        os.close(its_end)
        os.read(terminal, 1)
        wall = time.perf_counter() - begin
        status = Path(f"/proc/{process.pid}/status").read_text()
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        process.kill()
    os.close(terminal)
    peak_kb = int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0])
    return wall * 1e3, sum(map(int, ticks)) * 1e3 / os.sysconf("SC_CLK_TCK"), peak_kb * 1024 / 1e6


def cpu_seconds(command: list[str]) -> float:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_utime + usage.ru_stime


# The report


def row(title: str, name: str, unit: str, values: list[float], ratios: list[float] | None) -> dict[str, Any]:
    line = {"cell": title, "name": name, "unit": unit, "median": statistics.median(values)}
    line["spread"] = [min(values), max(values)]
    if ratios is not None:
        line |= {"ratio": statistics.median(ratios), "ratio_spread": [min(ratios), max(ratios)]}
    return line


def report(table: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    title = None
    for line in table:
        if line["cell"] != title:
            title = line["cell"]
            print(f"\n{title}")
        low, high = line["spread"]
        text = f"  {line['name']:36} {line['median']:9.2f} {line['unit']:26} ({low:.2f} to {high:.2f})"
        if "ratio" in line:
            text += f"  ratio {line['ratio']:6.2f} ({line['ratio_spread'][0]:.2f} to {line['ratio_spread'][1]:.2f})"
        print(text)
    print()
    setting = {
        "command": " ".join(["python", "benchmarks/sampling.py", *sys.argv[1:]]),
        **machine("numpy", "onnxruntime", "torch"),
        "threads": 1,
    }
    for line in table:
        print(json.dumps({**line, **setting}))


if __name__ == "__main__":
    main()
