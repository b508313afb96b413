"""Whether `--minutes` keeps its promise: promised and taken time, and the loss, for texts, budgets, processes.

    python benchmarks/minutes.py novel.txt library.txt --minutes 1 3 10 --processes 1 2
    python benchmarks/minutes.py novel.txt --minutes 3 --disturb     # from half-time on, another program works, too
    python benchmarks/minutes.py novel.txt --minutes 5 --flags '--model.num-layers 1' '--model.num-layers 2' \\
        --plot curves.png

The time is that of the whole command, as a user waits for it: `charrnn-train`, for several processes `accelerate
launch`. Prints a table, a row as soon as it is known; draws the validation losses over the minutes of training.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

Record = dict[str, float]
Curve = list[tuple[float, float]]
"""Minutes of training, and the validation loss then."""

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
COLUMNS = ("text", "promised", "taken", "processes", "disturbed", "model", "passes", "validation", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--minutes", nargs="+", type=float, default=[1, 3, 10])
    parser.add_argument("--processes", nargs="+", type=int, default=[1])
    parser.add_argument("--disturb", action="store_true", help="let another program take a core from half-time on")
    parser.add_argument("--flags", nargs="+", default=[""], help="more flags for charrnn-train, each set in one word")
    parser.add_argument("--plot", type=Path, help="PNG of the validation losses, a curve for each run")
    parser.add_argument("--runs", type=Path, help="directory to keep the runs in")
    arguments = parser.parse_args()
    curves: dict[str, Curve] = {}
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|")
    with tempfile.TemporaryDirectory() as folder:
        ways = itertools.product(arguments.texts, arguments.minutes, arguments.processes, arguments.flags)
        for number, (text, minutes, processes, flags) in enumerate(ways):
            run = (arguments.runs or Path(folder)) / f"{Path(text).stem}-{number}"
            row, curve = measured(run, text, minutes, processes, arguments.disturb, flags.split())
            print(f"| {' | '.join(row)} |", flush=True)
            curves[f"{Path(text).stem}, {row[COLUMNS.index('model')]}: test {row[-1]}"] = curve
    if arguments.plot:
        draw(curves, arguments.plot)


def measured(
    run: Path, text: str, minutes: float, processes: int, disturb: bool, flags: list[str]
) -> tuple[list[str], Curve]:
    """One run, as a row of the table and a curve."""
    command = [str(BIN / "charrnn-train")]
    if processes > 1:
        launch = [str(BIN / "accelerate"), "launch", "--config_file", "accelerate_config.yaml"]
        command = [*launch, "--num_processes", str(processes), "train.py"]
    command += [text, "--minutes", str(minutes), "--run-dir", str(run.absolute()), "--log.wandb", "offline", *flags]
    begin = time.perf_counter()
    other = None
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    if disturb:
        time.sleep(30 * minutes)
        other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    status = process.wait()
    taken = time.perf_counter() - begin
    if other is not None:
        other.kill()
        other.wait()
    if status:
        sys.exit(f"{' '.join(command)}: status {status}")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    cells = [text, f"{60 * minutes:.0f} s", f"{taken:.0f} s", str(processes), "yes" if disturb else "no"]
    return row_of(run, records, cells), curve_of(records)


def row_of(run: Path, records: list[Record], cells: list[str]) -> list[str]:
    description = json.loads((run / "config.json").read_text())
    model, start_stop = description["config"]["model"], description["text"]["splits"]["train"]
    validation = min(record["validation_loss_nats"] for record in records if "validation_loss_nats" in record)
    test = next(record["test_loss_nats"] for record in records if "test_loss_nats" in record)
    passes = records[-1]["characters_seen"] / (start_stop[1] - start_stop[0])
    name = f"{model['num_layers']} x {model['hidden_size']} {model['cell']}, dropout {model['dropout']}"
    return [*cells, name, f"{passes:.1f}", f"{validation:.4f}", f"{test:.4f}"]


def curve_of(records: list[Record]) -> Curve:
    minutes, seen, curve = 0.0, 0.0, []
    for record in records:
        if "characters_per_second" in record:
            minutes += (record["characters_seen"] - seen) / record["characters_per_second"] / 60
            seen = record["characters_seen"]
        if "validation_loss_nats" in record:
            curve.append((minutes, record["validation_loss_nats"]))
    return curve


def draw(curves: Mapping[str, Curve], path: Path) -> None:
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for label, curve in curves.items():
        axes.plot(*zip(*curve, strict=True), marker=".", label=label)
    axes.set(xlabel="minutes of training", ylabel="validation loss, nats per character", ylim=(None, 2.0))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
