"""How fast a model trains: whole steps of ours, of torch's layer and of the notebook's loop, alternating in one run.

    python benchmarks/training.py                                         # H = 512, B = 64, T = 100, V = 60, L = 1
    python benchmarks/training.py --hidden 128 1024 --batch 32 256 --precision no --output rows.jsonl
    python benchmarks/training.py --cell gru lstm --hidden 256 --peers nn.RNN   # beside nn.GRU and nn.LSTM

A cell is one combination of the sizes. Each contender has a process of its own, so that its peak memory is its own;
the others wait while it makes some steps. A round that another program disturbed is repeated (and counted where that
happened too often). A step is what a user runs: a batch from the loader, forward, loss, backward,
clipping, AdamW; ours is `Learner.train_step_collective`, which also counts the right guesses. Prints a table, and one
JSON line a row (to stdout, or to the end of --output).
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from machine import machine

ROOT = Path(__file__).parents[1]
E = 32
ROUND_SECONDS, ATTEMPTS = 0.4, 6
MATRIX = "matrix"  # the contender that measures what the machine can do, in every round anew
Step = Callable[[], object]


@dataclass(frozen=True)
class Cell:
    """The sizes of a model and of its batch, and the precision of its products."""

    hidden: int
    batch: int
    length: int
    vocabulary: int
    layers: int
    precision: str
    cell: str = "tanh"

    @property
    def flops(self) -> float:
        """Of the products that a step cannot do without: recurrence, upper layers' inputs, logits; their gradients."""
        gates = {"tanh": 1, "gru": 3, "lstm": 4}[self.cell]
        per_character = self.hidden * (gates * self.hidden * (2 * self.layers - 1) + self.vocabulary)
        return 3 * 2 * self.batch * self.length * per_character


# What a worker runs. Heavy imports are here, not above: the parent starts none of it.


def ours(cell: Cell, threads: int) -> Step:
    """Our training step, as `charrnn-train` runs it; the backend is what `auto` chooses."""
    import torch

    from charrnn.model import CharRNN, ModelConfig
    from charrnn.presets import text
    from charrnn.processes.start import start
    from charrnn.training.backend_choice import choose_backend_collective
    from charrnn.training.learner import Learner

    config = text()
    config = replace(
        config,
        batch=replace(config.batch, size=cell.batch, length=cell.length),
        model=replace(config.model, cell=cell.cell, hidden_size=cell.hidden, embedding_size=E, num_layers=cell.layers),
    )
    accelerator = start(mixed_precision=cell.precision, threads=threads)
    torch.manual_seed(0)
    model = CharRNN(ModelConfig(vocabulary_size=cell.vocabulary, **asdict(config.model)))
    choose_backend_collective(model, config, accelerator, before=lambda: "")
    learner = Learner(model, batches(cell), config, accelerator)
    learner.model.train()
    return learner.train_step_collective


def peer(cell: Cell, threads: int, layers: Callable[[Cell], Any], compiled: bool = False) -> Step:
    """The step that a PyTorch user writes, around `layers`: state carried, fused AdamW, gradients clipped at 1."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(cell.vocabulary, E)
            self.layers = layers(cell)
            self.fc = nn.Linear(cell.hidden, cell.vocabulary)

        def forward(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
            outputs, state = self.layers(self.embedding(tokens), state)
            return self.fc(outputs), state

    torch.manual_seed(0)
    model = Model().to(device)
    forward = torch.compile(model) if compiled else model
    optimiser = torch.optim.AdamW(model.parameters(), 4e-3, fused=True)
    zeros = torch.zeros(cell.layers, cell.batch, cell.hidden, device=device)
    loader, state = steps(cell), (zeros, zeros) if cell.cell == "lstm" else zeros

    def step() -> None:
        nonlocal state
        windows = torch.from_numpy(next(loader)).to(device).long()
        with torch.autocast(device.type, torch.bfloat16, enabled=cell.precision == "bf16"):
            logits, state = forward(windows[:, :-1], state)
            loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        state = tuple(part.detach() for part in state) if cell.cell == "lstm" else state.detach()

    return step


def torch_rnn(cell: Cell) -> Any:
    from torch import nn

    kind = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell.cell]
    return kind(E, cell.hidden, cell.layers, batch_first=True)


def notebook_loop(cell: Cell) -> Any:
    """The equations one character at a time, differentiated by autograd: the code that charrnn grew from."""
    import torch
    from torch import Tensor, nn

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            H = cell.hidden
            sizes = [E, *[H] * (cell.layers - 1)]
            self.W_e = nn.ParameterList([nn.Parameter(torch.randn(H, size) * 0.01) for size in sizes])
            self.W_h = nn.ParameterList([nn.Parameter(torch.randn(H, H) * 0.01) for _ in sizes])
            self.b_e = nn.ParameterList([nn.Parameter(torch.zeros(H)) for _ in sizes])
            self.b_h = nn.ParameterList([nn.Parameter(torch.zeros(H)) for _ in sizes])

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            finals = []
            for h, *parameters in zip(state, self.W_e, self.b_e, self.W_h, self.b_h, strict=True):
                W_e, b_e, W_h, b_h = parameters
                outputs = []
                for t in range(inputs.shape[1]):
                    h = torch.tanh(inputs[:, t] @ W_e.T + b_e + h @ W_h.T + b_h)
                    outputs.append(h)
                inputs = torch.stack(outputs, 1)
                finals.append(h)
            return inputs, torch.stack(finals)

    return Loop()


CONTENDERS: dict[str, Callable[[Cell, int], Step]] = {
    "charrnn": ours,
    "nn.RNN": lambda cell, threads: peer(cell, threads, torch_rnn),
    "notebook": lambda cell, threads: peer(replace(cell, precision="no"), threads, notebook_loop),
    "compiled": lambda cell, threads: peer(replace(cell, precision="no"), threads, notebook_loop, compiled=True),
}
"""`notebook` and `compiled` (the same under torch.compile, which takes minutes to begin) are always float32."""


def batches(cell: Cell) -> Any:
    """Batches of random text, long enough that no run comes to its end twice."""
    import numpy as np

    from charrnn.text.batches import Split, StreamBatches
    from charrnn.text.encoded import EncodedStream

    dtype = np.uint8 if cell.vocabulary <= 256 else np.uint16
    ids = np.random.default_rng(0).integers(0, cell.vocabulary, 50 * cell.batch * cell.length + 1, dtype)
    return StreamBatches(EncodedStream.of(ids), Split("train", 0, len(ids)), batch_size=cell.batch, length=cell.length)


def steps(cell: Cell) -> Iterator[Any]:
    source = batches(cell)
    for step in itertools.count():
        yield source.batch(0, step % source.steps_per_epoch, slice(None))


def matrix_rate(precision: str, threads: int) -> float:
    """FLOP/s of a large square product: the better of torch.mm and, on a CPU, oneDNN with a prepacked matrix."""
    import torch

    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = 8192 if device.type == "cuda" else 2048
    dtype = {"no": torch.float32, "bf16": torch.bfloat16}[precision]
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    ways: list[Step] = [lambda: torch.mm(a, b)]
    if device.type == "cpu":
        packed = torch.ops.mkldnn._reorder_linear_weight(b, size)
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], ""))
    return 2 * size**3 / min(clocked(way) for way in ways for _ in range(3))


def clocked(act: Step) -> float:
    """Seconds that `act` takes, a GPU's work included."""
    import torch

    begin = time.perf_counter()
    act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def worker(name: str, cell: Cell, threads: int) -> None:
    """Answer each line on stdin, the seconds that a round may take, with a line: seconds of each step, peak memory."""
    import torch

    import charrnn.training.learner  # noqa: F401 (the same imports in every contender: they are not its memory)

    before = memory_mb("VmRSS")
    step: Step | None = None
    for line in sys.stdin:
        if name == MATRIX:
            print(json.dumps({"rate": matrix_rate(cell.precision, threads)}), flush=True)
            continue
        step = step or CONTENDERS[name](cell, threads)  # now: the others wait while ours measures its backends
        end, times = time.perf_counter() + float(line), []
        while not times or time.perf_counter() < end:
            times.append(clocked(step))
        on_gpu = torch.cuda.is_available()
        peak_mb = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else memory_mb("VmHWM") - before
        print(json.dumps({"times": times, "peak_mb": peak_mb}), flush=True)


def memory_mb(which: str) -> float:
    """VmRSS: resident now; VmHWM: the most that it ever was."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{which}:\s*(\d+) kB", status)[0]) * 1024 / 1e6


# The parent.


class Worker:
    """A contender in a process of its own."""

    def __init__(self, name: str, cell: Cell, threads: int) -> None:
        words = [sys.executable, __file__, "--worker", name, json.dumps(asdict(cell)), "--threads", str(threads)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        self._process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": path}, **pipes)
        self.disturbed = 0

    def ask(self, seconds: float) -> dict[str, Any]:
        """Steps for about so many seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def ask_undisturbed(self, seconds: float) -> dict[str, Any]:
        """The same, repeated while other programs take more than 3 % of a core, up to ATTEMPTS times."""
        for _ in range(ATTEMPTS):
            time.sleep(0.03)  # the threads of the one before have stopped spinning by then
            begin, others = time.perf_counter(), self._others_seconds()
            answer = self.ask(seconds)
            elapsed, others = time.perf_counter() - begin, self._others_seconds() - others
            if others < 0.03 * elapsed + 0.02:  # the kernel counts in hundredths of a second
                return answer
        self.disturbed += 1
        return answer

    def _others_seconds(self) -> float:
        """CPU seconds that were not this worker's, of all cores, since the machine started."""
        words = Path("/proc/stat").read_text().split()[1:9]
        user, nice, system, _, _, irq, soft_irq, steal = map(int, words)
        own = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (user + nice + system + irq + soft_irq + steal - sum(map(int, own))) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        self._process.communicate()


@contextmanager
def workers(names: Sequence[str], cell: Cell, threads: int) -> Iterator[dict[str, Worker]]:
    """A worker for each name, which start side by side."""
    started = {name: Worker(name, cell, threads) for name in names}
    try:
        yield started
    finally:
        for one in started.values():
            one.end()


def measure(cell: Cell, names: list[str], threads: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each contender: median seconds of a step, the spread of the rounds' medians, and our ratio to it."""
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in [*names, MATRIX]}
    with workers(list(answers), cell, threads) as contenders:
        for contender in contenders.values():
            contender.ask(0)
        for contender in contenders.values():
            contender.ask(ROUND_SECONDS / 2)
        for _ in range(rounds):
            for name, contender in contenders.items():
                answers[name].append(contender.ask_undisturbed(ROUND_SECONDS))
    rates = [answer["rate"] for answer in answers.pop(MATRIX)]
    medians = {name: [statistics.median(answer["times"]) for answer in given] for name, given in answers.items()}
    rows = []
    for name, given in answers.items():
        precision = "no" if name in ("notebook", "compiled") else cell.precision
        shares = [cell.flops / seconds / rate for seconds, rate in zip(medians[name], rates, strict=True)]
        ratios = [theirs / ours for theirs, ours in zip(medians[name], medians[names[0]], strict=True)]
        rows.append(
            {
                "contender": name,
                **asdict(cell),
                "precision": precision,
                "cell_precision": cell.precision,
                "ms": statistics.median(itertools.chain(*[answer["times"] for answer in given])) * 1e3,
                "spread_ms": [min(medians[name]) * 1e3, max(medians[name]) * 1e3],
                "ratio": statistics.median(ratios),
                "ratio_spread": [min(ratios), max(ratios)],
                "matrix_share": statistics.median(shares) if precision == cell.precision else None,
                "matrix_gflops": statistics.median(rates) / 1e9,
                "disturbed_rounds": contenders[name].disturbed,
                "peak_mb": max(answer["peak_mb"] for answer in given),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"hidden": [512], "batch": [64], "length": [100], "vocabulary": [60], "layers": [1]}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", default=default, help=f"(default {default[0]})")
    parser.add_argument("--precision", nargs="+", choices=["no", "bf16"], default=["no", "bf16"], help="(default both)")
    parser.add_argument("--cell", nargs="+", choices=["tanh", "gru", "lstm"], default=["tanh"], help="(default tanh)")
    known = ", ".join(CONTENDERS)
    parser.add_argument("--peers", nargs="*", default=["nn.RNN", "notebook"], help=f"of {known} (default the two)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of alternation (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default all cores)")
    parser.add_argument("--output", type=Path, help="file that the JSON lines are added to (default: stdout)")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker[0], Cell(**json.loads(options.worker[1])), options.threads)
        return
    setting = {"threads": options.threads, "rounds": options.rounds, **machine("torch", "accelerate")}
    columns = [
        "H",
        "B",
        "T",
        "V",
        "L",
        "precision",
        "cell",
        "contender",
        "ms a step",
        "spread",
        "ratio",
        "of matrix rate",
    ]
    columns += ["peak memory", "disturbed rounds"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    lines = []
    for values in itertools.product(*(getattr(options, name) for name in (*sizes, "precision", "cell"))):
        for row in measure(Cell(*values), ["charrnn", *options.peers], options.threads, options.rounds):
            lines.append(json.dumps({**row, **setting}))
            share = "" if row["matrix_share"] is None else f"{row['matrix_share']:.0%}"
            print(
                "|",
                " | ".join(str(row[name]) for name in (*sizes, "precision", "cell", "contender")),
                f"| {row['ms']:.1f} | {row['spread_ms'][0]:.1f} to {row['spread_ms'][1]:.1f} | {row['ratio']:.2f}",
                f"| {share} | {row['peak_mb']:.0f} MB | {row['disturbed_rounds']} |",
                flush=True,
            )
    text = "\n".join(lines) + "\n"
    if options.output:
        with options.output.open("a") as file:
            file.write(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
