"""Whether `--minutes` keeps its promise: promised and taken time, and the loss, for texts, budgets, processes.

    python benchmarks/minutes.py novel.txt library.txt --minutes 1 3 10 --processes 1 2
    python benchmarks/minutes.py novel.txt --minutes 3 --disturb     # from half-time on, another program works, too
    python benchmarks/minutes.py novel.txt --minutes 5 --flags '--model.num-layers 1' '--model.num-layers 2'

The time is that of the whole command, as a user waits for it: `charrnn-train`, for several processes `accelerate
launch`. Prints a table, a row as soon as it is known.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    arguments = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|")
    for text in arguments.texts:
        for minutes in arguments.minutes:
            for processes, flags in itertools.product(arguments.processes, arguments.flags):
                row = measured(text, minutes, processes, arguments.disturb, flags.split())
                print(f"| {' | '.join(row)} |", flush=True)


def measured(text: str, minutes: float, processes: int, disturb: bool, flags: list[str]) -> list[str]:
    """One run, as a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [str(BIN / "charrnn-train")]
        if processes > 1:
            launch = [str(BIN / "accelerate"), "launch", "--config_file", "accelerate_config.yaml"]
            command = [*launch, "--num_processes", str(processes), "train.py"]
        command += [text, "--minutes", str(minutes), "--run-dir", str(run), "--log.wandb", "offline", *flags]
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
        return row_of(
            run, [text, f"{60 * minutes:.0f} s", f"{taken:.0f} s", str(processes), "yes" if disturb else "no"]
        )


def row_of(run: Path, cells: list[str]) -> list[str]:
    description = json.loads((run / "config.json").read_text())
    model, start_stop = description["config"]["model"], description["text"]["splits"]["train"]
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validation = min(record["validation_loss_nats"] for record in records if "validation_loss_nats" in record)
    test = next(record["test_loss_nats"] for record in records if "test_loss_nats" in record)
    passes = records[-1]["characters_seen"] / (start_stop[1] - start_stop[0])
    name = f"{model['num_layers']} x {model['hidden_size']} {model['cell']}, dropout {model['dropout']}"
    return [*cells, name, f"{passes:.1f}", f"{validation:.4f}", f"{test:.4f}"]


if __name__ == "__main__":
    main()
