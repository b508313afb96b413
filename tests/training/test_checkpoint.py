"""Checkpoints are whole or do not exist, and what is read is what was written."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charrnn.errors import RunError
from charrnn.training.checkpoint import (
    Checkpoint,
    Progress,
    best,
    latest,
    load_optimiser_tensors,
    optimiser_tensors,
    prune,
    read_checkpoint,
    read_progress,
    write_checkpoint,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest.json"
FILES = ["manifest.json", "model.safetensors", "optimiser.safetensors", "progress.json", "state.safetensors"]


def example(step: int = 1200, loss: float | None = 1.5, scale: float | None = None) -> Checkpoint:
    """Values that need no random generator, so that the golden file depends on nothing else."""
    return Checkpoint(
        model={"W_h": torch.arange(6.0).reshape(2, 3) / 7, "fc.bias": torch.tensor([-0.0, 1e-40])},
        optimiser={"exp_avg.W_h": torch.full((2, 3), 1e-3), "step.W_h": torch.tensor(1200.0)},
        state={"state": torch.linspace(-1, 1, 12).reshape(1, 4, 3)},
        progress=Progress(step=step, characters_seen=400 * step, validation_loss_nats=loss, gradient_scale=scale),
    )


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def assert_same(ours: Checkpoint, theirs: Checkpoint) -> None:
    assert ours.progress == theirs.progress
    for kind in ("model", "optimiser", "state"):
        left, right = getattr(ours, kind), getattr(theirs, kind)
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype
            # As bits: -0.0 and denormal numbers must survive as well.
            assert torch.equal(left[name].view(torch.int32), right[name].view(torch.int32)), name


# Written and read


@pytest.mark.parametrize(("loss", "scale"), [(1.5, None), (None, 65536.0)])
def test_round_trip(tmp_path: Path, loss: float | None, scale: float | None) -> None:
    written = example(loss=loss, scale=scale)
    path = write_checkpoint(tmp_path / "checkpoints", written)
    assert path == tmp_path / "checkpoints" / "step-00001200"
    assert_same(read_checkpoint(path), written)
    assert read_progress(path) == written.progress
    assert entries(path) == FILES
    assert entries(path.parent) == [path.name]


def test_an_epoch_s_start_has_no_state_and_tensors_need_not_be_contiguous(tmp_path: Path) -> None:
    written = replace(example(), state={}, model={"W": torch.arange(6.0).reshape(2, 3).T})
    assert_same(read_checkpoint(write_checkpoint(tmp_path, written)), written)


def test_the_manifest_is_the_golden_one(tmp_path: Path) -> None:
    """Its bytes are a promise: names, sizes and SHA-256 of the files of a given checkpoint."""
    path = write_checkpoint(tmp_path, example())
    assert (path / "manifest.json").read_bytes() == GOLDEN.read_bytes()


def test_the_same_step_again_replaces_what_was_there(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, example(loss=1.5))
    path = write_checkpoint(tmp_path, example(loss=0.5))
    assert read_progress(path).validation_loss_nats == 0.5
    assert entries(tmp_path) == [path.name]


def test_the_optimiser_s_tensors_go_into_another_optimiser() -> None:
    def build() -> tuple[torch.optim.AdamW, dict[torch.Tensor, str]]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return torch.optim.AdamW(layer.parameters(), lr=0.1), {p: n for n, p in layer.named_parameters()}

    def step(optimiser: torch.optim.AdamW, names: dict[torch.Tensor, str], scale: float) -> None:
        for parameter in names:
            parameter.grad = torch.full_like(parameter, scale)
        optimiser.step()

    first, first_names = build()
    step(first, first_names, 1.0)
    second, second_names = build()
    for mine, theirs in zip(second_names, first_names, strict=True):
        mine.data.copy_(theirs.data)
    tensors = optimiser_tensors(first, first_names)
    assert sorted(tensors) == sorted(
        f"{kind}.{n}" for kind in ("exp_avg", "exp_avg_sq", "step") for n in ("bias", "weight")
    )
    load_optimiser_tensors(second, second_names, {name: value.clone() for name, value in tensors.items()})
    step(first, first_names, -3.0)
    step(second, second_names, -3.0)
    for mine, theirs in zip(second_names, first_names, strict=True):
        assert torch.equal(mine, theirs)


# Which one


def test_latest_and_best(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    assert best(tmp_path) is None
    for step, loss in [(100, 2.0), (200, 1.0), (300, 1.0), (1000, None)]:
        write_checkpoint(tmp_path, example(step, loss))
    assert latest(tmp_path) == tmp_path / "step-00001000"
    assert best(tmp_path) == tmp_path / "step-00000300", "the newer of two that are equally good"


def test_without_any_validation_loss_the_newest_is_the_best(tmp_path: Path) -> None:
    for step in (20, 3, 100):
        write_checkpoint(tmp_path, example(step, None))
    assert best(tmp_path) == latest(tmp_path) == tmp_path / "step-00000100"


@pytest.mark.parametrize(("keep", "left"), [(1, [2, 5]), (2, [2, 4, 5]), (4, [2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])])
def test_prune_keeps_the_best_and_the_newest(tmp_path: Path, keep: int, left: list[int]) -> None:
    for step, loss in enumerate([3.0, 1.0, 2.5, 1.5, None], start=1):
        write_checkpoint(tmp_path, example(step, loss))
    prune(tmp_path, keep)
    assert entries(tmp_path) == [f"step-{step:08d}" for step in left]


# Half of one


def test_a_directory_without_a_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, example(1, 9.0))
    partial = write_checkpoint(tmp_path, example(2, 0.1))
    (partial / "manifest.json").unlink()
    assert latest(tmp_path) == best(tmp_path) == whole
    with pytest.raises(RunError, match="not a whole checkpoint"):
        read_checkpoint(partial)


def test_what_a_killed_writer_left_is_not_looked_at_and_goes_with_the_next_pruning(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, example(1))
    shutil.copytree(whole, tmp_path / ".step-00000002.4711")
    shutil.copytree(whole, tmp_path / "step-00000003")
    (tmp_path / "step-00000003" / "manifest.json").unlink()
    assert latest(tmp_path) == whole
    prune(tmp_path, 1)
    assert entries(tmp_path) == [whole.name]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_flipped_or_missing_is_an_error(tmp_path: Path, name: str) -> None:
    path = write_checkpoint(tmp_path, example())
    content = (path / name).read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 0x01]) + content[middle + 1 :]
    for damaged in (content[:-1], b"", flipped):
        (path / name).write_bytes(damaged)
        with pytest.raises(RunError, match="checkpoint") as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    (path / name).unlink()
    with pytest.raises(RunError, match="checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"format_version": 1}', '{"format_version": 1, "files": {"a": 1}}'])
def test_a_foreign_manifest(tmp_path: Path, content: str) -> None:
    path = write_checkpoint(tmp_path, example())
    (path / "manifest.json").write_text(content)
    with pytest.raises(RunError, match="not a whole checkpoint"):
        read_checkpoint(path)


def test_a_newer_format_is_said_to_be_one(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, example())
    manifest = json.loads((path / "manifest.json").read_text()) | {"format_version": 2}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="checkpoint format 2: this charrnn reads 1"):
        read_checkpoint(path)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    """Under the right name, and even with the right checksum."""
    import hashlib

    path = write_checkpoint(tmp_path, example())
    torch.save({"W_h": torch.zeros(2, 3)}, path / "model.safetensors")
    manifest = json.loads((path / "manifest.json").read_text())
    digest = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    manifest["files"]["model.safetensors"]["sha256"] = digest
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="not a whole checkpoint"):
        read_checkpoint(path)


# A disk that is full


@contextmanager
def full_after(size_bytes: int) -> Iterator[None]:
    """No file may grow beyond `size_bytes`: a write then fails as on a full disk, with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def big(step: int) -> Checkpoint:
    return replace(example(step), model={"W_h": torch.zeros(100, 100)})


def test_no_room_leaves_nothing_and_keeps_what_there_was(tmp_path: Path) -> None:
    before = write_checkpoint(tmp_path, example(1))
    with full_after(20_000), pytest.raises(RunError, match=r"checkpoint not written .*: free space there and resume"):
        write_checkpoint(tmp_path, big(2))
    assert entries(tmp_path) == [before.name]
    assert_same(read_checkpoint(before), example(1))


def test_a_full_file_system(tmp_path: Path) -> None:
    """A real one, 64 KiB in memory; where this process may not mount, there is none to fill."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    try:
        before = write_checkpoint(tmp_path / "checkpoints", example(1))
        with pytest.raises(RunError, match=r"step-00000002: checkpoint not written \(No space left on device\)"):
            write_checkpoint(tmp_path / "checkpoints", replace(big(2), state={"state": torch.zeros(100, 100)}))
        assert entries(tmp_path / "checkpoints") == [before.name]
        assert_same(read_checkpoint(before), example(1))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="checkpoint not written"):
        write_checkpoint(tmp_path / "file" / "checkpoints", example())


@pytest.mark.parametrize("seed", range(3))
def test_a_writer_killed_at_any_moment_leaves_whole_checkpoints_only(tmp_path: Path, seed: int) -> None:
    """kill -9 while it writes and prunes without a pause: what is complete can be read, whatever else lies about."""
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.training.test_checkpoint import big\n"
        "from charrnn.training.checkpoint import prune, write_checkpoint\n"
        "for step in range(10**6):\n"
        "    write_checkpoint(Path(sys.argv[1]), big(step)); prune(Path(sys.argv[1]), 2)\n"
        "    step < 4 or print(step, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    for _ in range(1 + 5 * seed):
        assert writer.stdout.readline()
    writer.kill()
    writer.wait()
    writer.stdout.close()
    newest = latest(tmp_path)
    assert newest is not None
    complete = [path for path in tmp_path.glob("step-*") if (path / "manifest.json").exists()]
    for path in complete:
        assert_same(read_checkpoint(path), big(read_progress(path).step))
    prune(tmp_path, 1)
    assert newest.is_dir()
    assert not list(tmp_path.glob(".*"))
