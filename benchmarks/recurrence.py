"""What `--model.recurrence auto` measures at the start of a run: all backends that can run here, forward and backward.

    python benchmarks/recurrence.py --hidden 128 256 512 1024 --batch 64 256 --precision no bf16

Prints a table: milliseconds of a layer's forward and backward pass, its input product included, for each backend that
agrees with the reference; the fastest is what `auto` takes.
"""

import argparse
import itertools

import torch
from machine import machine

from charrnn.model.backends import BACKENDS
from charrnn.model.cells import CELLS
from charrnn.model.measurement import measure
from charrnn.processes.start import start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", nargs="+", choices=list(CELLS), default=["tanh"])
    for name, default in {"hidden": [512], "batch": [64], "length": [100]}.items():
        parser.add_argument(f"--{name}", type=int, nargs="+", default=default, help=f"(default {default[0]})")
    parser.add_argument("--precision", nargs="+", choices=["no", "bf16"], default=["no", "bf16"], help="(default both)")
    options = parser.parse_args()
    device = start(mixed_precision="no", threads=0).device  # as in a run: deterministic on a GPU, all cores else
    names = [name for name, entry in BACKENDS.items() if entry.device in ("", device.type) and name != "reference"]
    print(f"{torch.cuda.get_device_name(device) if device.type == 'cuda' else device}, {machine('torch')}")
    columns = ["cell", "H", "B", "T", "precision", "`auto` takes", *names, "passed over"]
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    sizes = (options.cell, options.hidden, options.batch, options.length, options.precision)
    for cell, H, B, T, precision in itertools.product(*sizes):
        dtype = {"no": torch.float32, "bf16": torch.bfloat16}[precision]
        found = measure(CELLS[cell], T=T, B=B, H=H, device=device, dtype=dtype)
        times = [f"{found.seconds[name] * 1e3:.2f}" if name in found.seconds else "" for name in names]
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.passed_over.items())
        words = [cell, H, B, T, precision, f"**{found.name}**", *times, reasons]
        print("|", " | ".join(map(str, words)), "|", flush=True)


if __name__ == "__main__":
    main()
