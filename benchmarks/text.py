"""How fast text becomes windows: preparation, second start, batches; beside the `text` loader of `datasets` with `map`.

    python benchmarks/text.py --megabytes 200

Every measurement is a fresh process (so that peak memory is its own), clocked after its imports; ours and the peer
alternate. Prints a table, then one JSON line per row with the median, the spread and what it was measured on.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from charrnn.text.batches import Batches, Split, StreamBatches, WindowBatches
from charrnn.text.builtin import LOCAL
from charrnn.text.prepare import PreparedText, prepare
from charrnn.text.settings import TextConfig

BATCH, LENGTH, STRIDE = 64, 100, 10
STEPS, ROUNDS = 2000, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200, help="size of the text (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (default 3)")
    parser.add_argument("--directory", type=Path, help="where to work; on the disk to be measured (default: temporary)")
    parser.add_argument("--measure", choices=sorted(MEASUREMENTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(MEASUREMENTS[arguments.measure](arguments.directory)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        write_text(Path(directory) / "text", arguments.megabytes * 1_000_000)
        report(rows(Path(directory), arguments.repeats), arguments)


def write_text(path: Path, size_bytes: int) -> None:
    """Write the standard library's files, shuffled anew each time round, until the size is reached."""
    sources = [b"".join(part.blocks()).replace(b"\r", b"") for part in LOCAL["python-stdlib"]()]
    shuffled = random.Random(0)
    with path.open("wb") as file:
        while file.tell() < size_bytes:
            shuffled.shuffle(sources)
            file.writelines(sources)
        while file.tell() > size_bytes:  # whole files only: a cut could split a character
            file.seek(-len(sources.pop()), os.SEEK_CUR)
        file.truncate()


def rows(directory: Path, repeats: int) -> list[dict[str, Any]]:
    """Measure everything `repeats` times and return the table's rows."""
    megabytes = (directory / "text").stat().st_size / 1e6
    results: dict[str, list[dict[str, float]]] = {name: [] for name in MEASUREMENTS}
    for _ in range(repeats):
        for name in ("prepare", "again", "batches", "peer"):
            if name in ("prepare", "peer"):
                shutil.rmtree(directory / "cache", ignore_errors=True)
            results[name].append(measure(name, directory))
    assert {result["characters"] for name in ("prepare", "peer") for result in results[name]} == {
        results["prepare"][0]["characters"]
    }
    ours = [megabytes / result["seconds"] for result in results["prepare"]]
    peer = [megabytes / result["seconds"] for result in results["peer"]]
    return [
        row("prepare", "MB/s", ours),
        row("datasets text loader + map", "MB/s", peer),
        row("prepare / peer", "ratio", [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]),
        row("prepare, peak memory", "MB", [result["peak_mb"] for result in results["prepare"]]),
        row("peer, peak memory", "MB", [result["peak_mb"] for result in results["peer"]]),
        row("second start", "s", [result["seconds"] for result in results["again"]]),
        row("shuffled windows", "million/s", [result["windows"] / 1e6 for result in results["batches"]]),
        row("  their permutation, once an epoch", "s", [result["permutation"] for result in results["batches"]]),
        row("contiguous streams", "million/s", [result["streams"] / 1e6 for result in results["batches"]]),
    ]


def measure(name: str, directory: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", name, "--directory", str(directory)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    result: dict[str, float] = json.loads(output)
    return result


def row(name: str, unit: str, values: list[float]) -> dict[str, Any]:
    return {"name": name, "unit": unit, "median": statistics.median(values), "spread": [min(values), max(values)]}


def report(table: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    for line in table:
        low, high = line["spread"]
        print(f"{line['name']:36} {line['median']:10.2f} {line['unit']:10} ({low:.2f} to {high:.2f})")
    setting = {
        "command": f"python benchmarks/text.py --megabytes {arguments.megabytes} --repeats {arguments.repeats}",
        "batch": [BATCH, LENGTH + 1],
        "stride": STRIDE,
        **machine("numpy", "pyarrow", "datasets"),
    }
    for line in table:
        print(json.dumps({**line, "name": line["name"].strip(), **setting}))


# The measurements, each in a process of its own.


def prepared(directory: Path) -> PreparedText:
    return prepare(TextConfig(corpus=(str(directory / "text"),)), cache_dir=directory / "cache", progress=False)


def measure_prepare(directory: Path) -> dict[str, float]:
    import charrnn.text.arrow  # noqa: F401 (its imports are not clocked)

    result = prepared(directory)
    assert result.fresh
    return {"seconds": result.seconds, "peak_mb": peak_mb(), "characters": len(result.stream)}


def measure_again(directory: Path) -> dict[str, float]:
    import datasets  # noqa: F401

    result = prepared(directory)
    assert not result.fresh
    return {"seconds": result.seconds}


def measure_peer(directory: Path) -> dict[str, float]:
    """The same work by the tools at hand: lines with their ends, the set of characters, ids of one byte each."""
    import datasets

    datasets.disable_progress_bars()
    started = time.perf_counter()
    lines = datasets.load_dataset(
        "text",
        data_files=str(directory / "text"),
        split="train",
        keep_linebreaks=True,
        cache_dir=str(directory / "cache"),
    )
    characters: set[str] = set()
    for batch in lines.iter(batch_size=10_000):
        characters.update("".join(batch["text"]))
    table = np.zeros(0x110000, dtype=np.uint8)
    table[[ord(character) for character in sorted(characters)]] = np.arange(len(characters))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        # One row for all lines of a batch: a row for each line made `map` several times slower.
        return {"ids": [table[np.frombuffer("".join(batch["text"]).encode("utf-32-le"), dtype=np.uint32)]]}

    features = datasets.Features({"ids": datasets.List(datasets.Value("uint8"))})
    encoded = lines.map(encode, batched=True, batch_size=10_000, remove_columns=["text"], features=features)
    seconds = time.perf_counter() - started
    column = encoded.data.column("ids")
    return {"seconds": seconds, "peak_mb": peak_mb(), "characters": sum(len(chunk.values) for chunk in column.chunks)}


def measure_batches(directory: Path) -> dict[str, float]:
    text = prepared(directory)
    split = Split("train", 0, len(text.stream))
    windows = WindowBatches(text.stream, split, batch_size=BATCH, length=LENGTH, stride=STRIDE, seed=0)
    started = time.perf_counter()
    windows.batch(0, 0, slice(None))
    permutation = time.perf_counter() - started
    streams = StreamBatches(text.stream, split, batch_size=BATCH, length=LENGTH)
    return {"windows": rate(windows), "streams": rate(streams), "permutation": permutation}


def rate(batches: Batches) -> float:
    """Return rows per second: the median of rounds, of which the first is to warm up (the pages come into memory)."""
    seconds = []
    for round_ in range(ROUNDS + 1):
        started = time.perf_counter()
        for step in range(round_ * STEPS, (round_ + 1) * STEPS):
            batches.batch(0, step % batches.steps_per_epoch, slice(None))
        seconds.append(time.perf_counter() - started)
    return BATCH * STEPS / statistics.median(seconds[1:])


def peak_mb() -> float:
    """Return the most memory this program has been resident with (`ru_maxrss` would inherit its parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) * 1024 / 1e6


MEASUREMENTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "prepare": measure_prepare,
    "again": measure_again,
    "batches": measure_batches,
    "peer": measure_peer,
}

if __name__ == "__main__":
    main()
