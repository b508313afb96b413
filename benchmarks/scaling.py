"""What a step costs on several processes: computing, waiting, sending; and what that says of many more.

    python benchmarks/scaling.py                        # two processes of this machine
    python benchmarks/scaling.py --rates 20 100 500     # two "machines" joined by links of so many Mbit/s, too (root)

Fits  seconds = a + b * rows + latency + 2 (N - 1) / N * bytes / bandwidth  to part of the measurements (`a` is the part
of a recurrence that no process takes off another: T steps, one after another) and compares it with the rest.
"""

import argparse
import gc
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machine import machine

if TYPE_CHECKING:
    from accelerate import Accelerator

ROOT = Path(__file__).parents[1]
STEPS, WARM_UP = 12, 3


def worker(batch_size: int, hidden_size: int, accumulation: int) -> None:
    """One process of a launch; the main process prints what was measured."""
    from charrnn.processes.start import start

    accelerator = start(mixed_precision="no", threads=1)
    result = measured(accelerator, batch_size, hidden_size, accumulation)
    if accelerator.is_main_process:
        print("RESULT " + json.dumps(result), flush=True)
    accelerator.free_memory()
    gc.collect()
    accelerator.end_training()


def measured(accelerator: "Accelerator", batch_size: int, hidden_size: int, accumulation: int) -> dict[str, float]:
    """Medians, in seconds, of whole steps and of their parts."""
    import numpy as np
    import torch
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook

    from charrnn.model import CharRNN, ModelConfig
    from charrnn.presets import text
    from charrnn.text.batches import Split, StreamBatches
    from charrnn.text.encoded import EncodedStream
    from charrnn.training.learner import Learner

    config = text()
    config = replace(
        config,
        batch=replace(config.batch, size=batch_size, accumulation=accumulation),
        model=replace(config.model, hidden_size=hidden_size),
    )
    ids = np.random.default_rng(0).integers(0, 60, 200 * batch_size * config.batch.length, np.uint8)
    split = Split("train", 0, len(ids))
    batches = StreamBatches(EncodedStream.of(ids), split, batch_size=batch_size, length=config.batch.length)
    torch.manual_seed(0)
    learner = Learner(CharRNN(ModelConfig(vocabulary_size=60, **asdict(config.model))), batches, config, accelerator)

    def seconds(act: Callable[[], object]) -> float:
        times = []
        for _ in range(WARM_UP + STEPS):
            accelerator.wait_for_everyone()
            begin = time.perf_counter()
            act()
            times.append(time.perf_counter() - begin)
        return statistics.median(times[WARM_UP:])

    def step_alone() -> None:
        with accelerator.no_sync(learner.parallel):
            learner.train_step_collective()

    gradient = torch.zeros(learner.num_parameters, device=accelerator.device)
    result = {
        "parameters": learner.num_parameters,
        "rows": learner.rows.stop - learner.rows.start,
        "step": seconds(learner.train_step_collective),
        "compute": seconds(step_alone),
        "all_reduce": seconds(lambda: torch.distributed.all_reduce(gradient)),
        "latency": seconds(lambda: torch.distributed.all_reduce(gradient[:1])),
    }
    # Under its own name torch refuses it without NCCL, though gloo adds bfloat16 up just as well.
    learner.parallel.register_comm_hook(None, lambda state, bucket: bf16_compress_hook(state, bucket))
    return result | {"step_bf16_gradients": seconds(learner.train_step_collective)}


def measure(prefixes: Sequence[Sequence[str]], address: str, **sizes: int) -> dict[str, float]:
    """Launch one worker a machine, or two on this one where there is but one prefix; what the main process printed."""
    machines = len(prefixes)
    launches = []
    for rank, prefix in enumerate(prefixes):
        several = ["--num_machines", machines, "--machine_rank", rank, "--main_process_ip", address]
        topology = [*several, "--main_process_port", 29511] if machines > 1 else []
        file = "launch/several_machines.yaml" if machines > 1 else "accelerate_config.yaml"
        words = [Path(sys.executable).parent / "accelerate", "launch", "--config_file", file, "--num_processes", 2]
        flags = [word for name, value in sizes.items() for word in (f"--{name.replace('_', '-')}", value)]
        command = [*prefix, *words, *topology, __file__, "--worker", *flags]
        line = [str(word) for word in command]
        launches.append(subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    outputs = [launch.communicate(timeout=600)[0] for launch in launches]
    lines = [line for output in outputs for line in output.splitlines() if line.startswith("RESULT ")]
    if len(lines) != 1:
        raise RuntimeError("\n".join(outputs))
    result: dict[str, float] = json.loads(lines[0].removeprefix("RESULT "))
    return result


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The line a + b x through `points` (x, y) with the least squares; a at least 0."""
    xs, ys = zip(*points, strict=True)
    slope, intercept = statistics.linear_regression(xs, ys)
    return max(0.0, intercept), slope


def traffic(parameters: float, processes: int) -> float:
    """Bytes that each process sends in one ring all-reduce of float32 gradients (Patarasuk & Yuan 2009)."""
    return 4 * parameters * 2 * (processes - 1) / processes


def main() -> None:
    """Measure, fit, compare; print tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="links between two machines, Mbit/s")
    parser.add_argument("--delay-ms", type=float, default=1.0, help="delay of these links, each way")
    parser.add_argument("--read-out-gbit", type=float, default=100.0, help="links of the machines that are read out to")
    parser.add_argument("--read-out-hop-us", type=float, default=20.0, help="microseconds that one of them takes")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, default=64, help=argparse.SUPPRESS)
    parser.add_argument("--hidden-size", type=int, default=512, help=argparse.SUPPRESS)
    parser.add_argument("--accumulation", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.batch_size, options.hidden_size, options.accumulation)
        return
    record: dict[str, Any] = {
        "command": "python benchmarks/scaling.py " + " ".join(sys.argv[1:]),
        **machine("torch", "accelerate"),
    }
    record["local"] = here = local()
    if options.rates:
        record["links"] = links(options.rates, options.delay_ms, here)
    read_out(here, options.read_out_gbit, options.read_out_hop_us)
    print(json.dumps(record))


def local() -> dict[str, Any]:
    """Two processes of this machine: the line of computing over rows, and the share of the all-reduce."""
    sizes = {batch: measure([[]], "", batch_size=batch) for batch in (32, 64, 128)}
    a, b = fit([(result["rows"], result["compute"]) for result in sizes.values()])
    print(f"compute = {a * 1e3:.1f} ms + {b * 1e3:.3f} ms x rows (H = 512, T = 100, one thread a process)")
    accumulated = measure([[]], "", batch_size=128, accumulation=2)
    print("\n| B | rows | step | without all-reduce | all-reduce alone | share | bf16 gradients |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for batch, r in sizes.items():
        print(
            f"| {batch} | {r['rows']} | {r['step'] * 1e3:.1f} ms | {r['compute'] * 1e3:.1f} ms "
            f"| {r['all_reduce'] * 1e3:.2f} ms | {r['all_reduce'] / r['step']:.1%} "
            f"| {r['step_bf16_gradients'] * 1e3:.1f} ms |"
        )
    print(f"\nB = 128 in two parts (accumulation): {accumulated['step'] * 1e3:.1f} ms a step")
    return {"a": a, "b": b, "by_batch": sizes, "accumulated": accumulated}


def links(rates: Sequence[float], delay_ms: float, here: dict[str, Any]) -> dict[str, Any]:
    """Two machines at each rate: the line of the all-reduce from a small model, then prediction beside measurement."""
    sys.path.insert(0, str(ROOT))
    from tests.machines import network

    def at(rate: float, hidden_size: int) -> dict[str, float]:
        with network(2, rate_mbit=rate, delay_ms=delay_ms) as machines:
            r = measure([m.prefix for m in machines], machines[0].address, hidden_size=hidden_size)
        return r | {"nominal": traffic(r["parameters"], 2) * 8 / (rate * 1e6)}

    small = [at(rate, 256) for rate in (min(rates), max(rates))]
    latency, overhead = fit([(r["nominal"], r["all_reduce"]) for r in small])
    print(f"\nall-reduce = {latency * 1e3:.1f} ms + {overhead:.2f} x bytes / bandwidth (from H = 256, both ends)")
    print("\n| link | bytes a step | predicted | measured | error | all-reduce | bf16 gradients |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for rate in rates:
        r = at(rate, 512)
        predicted = here["a"] + here["b"] * r["rows"] + latency + overhead * r["nominal"]
        rows.append({"rate_mbit": rate, "predicted": predicted, **r})
        print(
            f"| {rate:g} Mbit/s | {traffic(r['parameters'], 2) / 1e6:.2f} MB | {predicted * 1e3:.0f} ms "
            f"| {r['step'] * 1e3:.0f} ms | {predicted / r['step'] - 1:+.0%} | {r['all_reduce'] * 1e3:.0f} ms "
            f"| {r['step_bf16_gradients'] * 1e3:.0f} ms |"
        )
    return {"latency": latency, "overhead": overhead, "small": small, "rows": rows}


def read_out(here: dict[str, Any], gbit: float, hop_us: float) -> None:
    """The model for many processes as fast as this machine's: the step, and how many times the work of one it does.

    Assumed, not measured: links of `gbit` Gbit/s and `hop_us`, and a reduction by trees, over 2 log2 N of them.
    """
    parameters = here["by_batch"][64]["parameters"]
    print(f"\nRead out to links of {gbit:g} Gbit/s and {hop_us:g} us, both assumed:\n")
    print("| processes | B | rows each | step | all-reduce | times the work of one | of what they could |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for processes in (8, 64, 1024):
        for batch in (64, 1024, 65536):
            if batch < processes:
                continue
            rows = batch / processes
            reduce = 2 * math.log2(processes) * hop_us * 1e-6 + traffic(parameters, processes) * 8 / (gbit * 1e9)
            step, alone = here["a"] + here["b"] * rows + reduce, here["a"] + here["b"] * batch
            print(
                f"| {processes} | {batch} | {rows:g} | {step * 1e3:.1f} ms | {reduce * 1e3:.2f} ms "
                f"| {alone / step:.1f} | {alone / step / processes:.0%} |"
            )


if __name__ == "__main__":
    main()
