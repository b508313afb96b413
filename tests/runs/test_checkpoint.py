"""Checkpoints are whole or do not exist, and what is read is what was written."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example as such_as
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import RunError
from charrnn.runs.checkpoint import (
    FILES,
    Checkpoint,
    Progress,
    best_first,
    first_whole,
    forget_after,
    load_optimiser_tensors,
    newest_first,
    optimiser_tensors,
    prune,
    read_checkpoint,
    read_files,
    write_checkpoint,
)
from tests.anything import JSON, one_line

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest.json"
ALL_FILES = [*FILES, "manifest.json"]
SCALER = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 7}


def example(step: int = 1200, loss: float | None = 1.5, scaler: dict[str, float] | None = None) -> Checkpoint:
    """Values that need no random generator, so that the golden file depends on nothing else."""
    return Checkpoint(
        model={"W_h": torch.arange(6.0).reshape(2, 3) / 7, "fc.bias": torch.tensor([-0.0, 1e-40])},
        optimiser={"exp_avg.W_h": torch.full((2, 3), 1e-3), "step.W_h": torch.tensor(1200.0)},
        state={
            "state": torch.linspace(-1, 1, 12).reshape(1, 4, 3),
            "training_sums": torch.tensor([[0.1, 2, 400], [1 / 3, 0, 396]], dtype=torch.float64),
        },
        progress=Progress(
            step=step,
            epoch=step // 500,
            characters_seen=400 * step,
            evaluated=loss is not None,
            validation_loss_nats=loss,
            gradient_scaler=scaler,
        ),
        config={"seed": 3, "text": {"corpus": ["a.txt"]}, "model": {"hidden_size": 3}},
    )


def entries(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def steps(paths: list[Path]) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in paths]


def forge(path: Path, name: str, content: bytes) -> None:
    """Give a checkpoint a file of another content, with the size and the checksum that it should have."""
    (path / name).write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (path / "manifest.json").write_text(json.dumps(manifest))


def refused(path: Path) -> str:
    """The one line that says why a checkpoint is not read; '' where it is."""
    try:
        read_checkpoint(path)
    except RunError as error:
        line = one_line(error)
    else:
        return ""
    assert line.startswith(str(path))
    return line


def assert_same(ours: Checkpoint, theirs: Checkpoint) -> None:
    assert ours.progress == theirs.progress
    assert ours.config == theirs.config
    for kind in ("model", "optimiser", "state"):
        left, right = getattr(ours, kind), getattr(theirs, kind)
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].dtype == right[name].dtype
            # As bits: -0.0 and denormal numbers must survive as well.
            assert torch.equal(left[name].view(torch.int32), right[name].view(torch.int32)), name


# Written and read


@pytest.mark.parametrize(("loss", "scaler"), [(1.5, None), (None, SCALER)])
def test_round_trip(tmp_path: Path, loss: float | None, scaler: dict[str, float] | None) -> None:
    written = example(loss=loss, scaler=scaler)
    path = write_checkpoint(tmp_path / "checkpoints", written)
    assert path == tmp_path / "checkpoints" / "step-00001200"
    assert_same(read_checkpoint(path), written)
    assert_same(Checkpoint.from_files(path, read_files(path)), written)
    assert entries(path) == sorted(ALL_FILES)
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
    assert read_checkpoint(path).progress.validation_loss_nats == 0.5
    assert entries(tmp_path) == [path.name]


class Killed(BaseException):
    """What a process that is killed does: no `except` of ours sees it."""


@contextmanager
def killed_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The process ends before its `call`th change of the disk; the list has those that were made."""
    made: list[str] = []

    def until_then(name: str, act: Callable[..., object]) -> Callable[..., object]:
        def acts(*arguments: object, **options: object) -> object:
            if len(made) == call:
                raise Killed
            made.append(name)
            return act(*arguments, **options)

        return acts

    with monkeypatch.context() as patch:
        for name in ("mkdir", "rename", "unlink", "rmdir"):
            patch.setattr(os, name, until_then(name, getattr(os, name)))
        patch.setattr(os, "fsync", until_then("fsync", lambda descriptor: None))
        with suppress(Killed):
            yield made


def test_there_is_a_whole_one_whenever_the_writer_of_the_same_step_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each of its changes of the disk, and of the next writer's after that: one of this step, whole."""
    first, second, third = (example(loss=loss) for loss in (3.0, 2.0, 1.0))
    for call in range(1000):
        write_checkpoint(tmp_path / f"{call}", first)
        with killed_at(call, monkeypatch) as made:
            write_checkpoint(tmp_path / f"{call}", second)
        found = first_whole(newest_first(tmp_path / f"{call}"), str)
        assert found is not None, made
        assert_same(found, second if made.count("rename") == 2 else first)
        for again in (8, 9, 10):  # about the two renames
            run = Path(shutil.copytree(tmp_path / f"{call}", tmp_path / f"{call}-{again}"))
            with killed_at(again, monkeypatch):
                write_checkpoint(run, third)
            newest = first_whole(newest_first(run), str)
            assert newest is not None
            assert newest.progress.step == first.progress.step
        path = write_checkpoint(tmp_path / f"{call}", third)
        prune(tmp_path / f"{call}", 1)
        assert entries(tmp_path / f"{call}") == [path.name]
        assert_same(read_checkpoint(path), third)
        if len(made) < call:  # it was not killed any more
            break
    assert made.count("rename") == 2, "the one aside, the other in its place"
    assert call > 10


def test_what_a_killed_process_of_any_name_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    """In a container each start has the same pid."""
    (tmp_path / f".step-00001200.{os.getpid()}").mkdir()
    path = write_checkpoint(tmp_path, example())
    prune(tmp_path, 1)
    assert entries(tmp_path) == [path.name]


def test_a_checkpoint_has_the_mode_that_the_user_s_mask_gives(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    path = write_checkpoint(tmp_path, example())
    assert path.stat().st_mode == (tmp_path / "made").stat().st_mode


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


def test_newest_first_and_best_first(tmp_path: Path) -> None:
    assert newest_first(tmp_path / "missing") == best_first(tmp_path) == []
    for step, loss in [(100, 2.0), (200, 1.0), (300, 1.0), (1000, None), (50, None)]:
        write_checkpoint(tmp_path, example(step, loss))
    assert steps(newest_first(tmp_path)) == [1000, 300, 200, 100, 50]
    assert steps(best_first(tmp_path)) == [300, 200, 100, 1000, 50], "the newer of two that are equally good"


def test_steps_are_numbers(tmp_path: Path) -> None:
    """From step 100,000,000 on a name is longer than those before it."""
    for step in (99_999_999, 100_000_000, 250_000_000, 3_000_000_000):
        write_checkpoint(tmp_path, example(step, 2.0))
    assert steps(newest_first(tmp_path)) == [3_000_000_000, 250_000_000, 100_000_000, 99_999_999]
    assert newest_first(tmp_path) == best_first(tmp_path)
    prune(tmp_path, 3)
    assert steps(newest_first(tmp_path)) == [3_000_000_000, 250_000_000, 100_000_000]
    forget_after(tmp_path, 250_000_000)
    assert steps(newest_first(tmp_path)) == [250_000_000, 100_000_000]
    forget_after(tmp_path, 99_999_999)
    assert newest_first(tmp_path) == []


def test_of_one_step_the_one_that_had_its_name_last_is_the_newest(tmp_path: Path) -> None:
    """Two are aside where two processes were killed, each just after it had written the step again."""
    path = write_checkpoint(tmp_path, example(7, 2.0))
    names = [path.name, f"{path.name}.replaced.replaced", f"{path.name}.replaced"]
    for name in names[1:]:
        shutil.copytree(path, tmp_path / name)
    assert [found.name for found in newest_first(tmp_path)] == names


def test_what_a_user_has_put_there_is_left_alone(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, example(5))
    shutil.copytree(path, tmp_path / "step-00000003-good")
    (tmp_path / "step-by-step.txt").touch()
    prune(tmp_path, 1)
    forget_after(tmp_path, 1)
    assert newest_first(tmp_path) == []
    assert entries(tmp_path) == ["step-00000003-good", "step-by-step.txt"]


def test_what_cannot_be_deleted_is_one_line(tmp_path: Path) -> None:
    """A file system that has become read-only; here, a directory where the manifest was."""
    for step in (1, 2):
        path = write_checkpoint(tmp_path, example(step)) / "manifest.json"
    path.unlink()
    path.mkdir()
    for act in (lambda: prune(tmp_path, 1), lambda: forget_after(tmp_path, 1)):
        with pytest.raises(RunError, match="an old checkpoint cannot be deleted") as caught:
            act()
        assert one_line(caught.value).startswith(str(tmp_path))


def test_one_whose_progress_cannot_be_read_is_never_the_best(tmp_path: Path) -> None:
    for step, loss in [(100, 2.0), (200, 1.0)]:
        write_checkpoint(tmp_path, example(step, loss))
    (tmp_path / "step-00000200" / "progress.json").write_bytes(b"[" * 100_000)
    assert steps(best_first(tmp_path)) == [100, 200]


@pytest.mark.parametrize(("step", "left"), [(0, []), (1, [1]), (2, [1, 2]), (9, [1, 2, 3])])
def test_the_checkpoints_after_a_step_are_forgotten(tmp_path: Path, step: int, left: list[int]) -> None:
    for at in (1, 2, 3):
        write_checkpoint(tmp_path, example(at))
    forget_after(tmp_path, step)
    assert entries(tmp_path) == [f"step-{at:08d}" for at in left]


@pytest.mark.parametrize(("keep", "left"), [(1, [2, 5]), (2, [2, 4, 5]), (4, [2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])])
def test_prune_keeps_the_best_and_the_newest(tmp_path: Path, keep: int, left: list[int]) -> None:
    for step, loss in enumerate([3.0, 1.0, 2.5, 1.5, None], start=1):
        write_checkpoint(tmp_path, example(step, loss))
    prune(tmp_path, keep)
    assert entries(tmp_path) == [f"step-{step:08d}" for step in left]


# The first that is whole


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_damaged_newest_is_told_about_and_the_one_before_it_serves(tmp_path: Path, name: str) -> None:
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, example(step))
    spoilt = tmp_path / "step-00000003" / name
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    said: list[str] = []
    found = first_whole(newest_first(tmp_path), said.append)
    assert found is not None
    assert_same(found, example(2))
    (line,) = said
    assert line.startswith(str(tmp_path / "step-00000003"))
    assert line.endswith("(it is passed over)")
    assert "\n" not in line


def test_where_all_are_damaged_that_is_an_error_and_where_there_are_none_it_is_not(tmp_path: Path) -> None:
    said: list[str] = []
    assert first_whole(newest_first(tmp_path), said.append) is None
    for step in (1, 2):
        (write_checkpoint(tmp_path, example(step)) / "config.json").unlink()
    with pytest.raises(RunError, match=r"step-00000001: .*, but there is no other: restore one from a copy") as caught:
        first_whole(newest_first(tmp_path), said.append)
    assert one_line(caught.value)
    assert [line.split(":")[0] for line in said] == [str(path) for path in newest_first(tmp_path)]


# Half of one


def test_a_directory_without_a_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, example(1, 9.0))
    partial = write_checkpoint(tmp_path, example(2, 0.1))
    (partial / "manifest.json").unlink()
    assert newest_first(tmp_path) == best_first(tmp_path) == [whole]
    assert "not a whole checkpoint" in refused(partial)


def test_what_a_killed_writer_left_is_not_looked_at_and_goes_with_the_next_pruning(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, example(1))
    shutil.copytree(whole, tmp_path / ".step-00000002.4711")
    shutil.copytree(whole, tmp_path / "step-00000003")
    (tmp_path / "step-00000003" / "manifest.json").unlink()
    assert newest_first(tmp_path) == [whole]
    prune(tmp_path, 1)
    assert entries(tmp_path) == [whole.name]


@pytest.mark.parametrize("name", ALL_FILES)
def test_a_file_that_is_cut_short_anywhere_or_missing_is_an_error(tmp_path: Path, name: str) -> None:
    path = write_checkpoint(tmp_path, example())
    content = (path / name).read_bytes()
    for place in random.Random(1).sample(range(len(content)), 20):
        (path / name).write_bytes(content[:place])
        assert refused(path), place
    (path / name).unlink()
    assert "not a whole checkpoint" in refused(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_is_told_with_both_sizes(tmp_path: Path, name: str, change: int) -> None:
    """It says of a copy whether it broke off; that a checksum differs would not."""
    path = write_checkpoint(tmp_path, example())
    size = (path / name).stat().st_size
    os.truncate(path / name, size + change)
    expected = f"{path / name}: has {size + change} bytes, not the {size} of its manifest: use another checkpoint"
    assert refused(path) == expected


def test_one_flipped_bit_is_an_error(tmp_path: Path) -> None:
    """Or, where it says nothing, such as in a manifest's white space, what is read is what was written."""
    path, draw, read = write_checkpoint(tmp_path, example()), random.Random(2), 0
    for _ in range(200):
        name = draw.choice(ALL_FILES)
        content = (path / name).read_bytes()
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        (path / name).write_bytes(flipped)
        if not refused(path):
            assert_same(read_checkpoint(path), example())
            read += 1
        (path / name).write_bytes(content)
    assert read < 10
    assert not refused(path)


# Files that somebody made, whose checksums are right


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of which every test spoils one file; `restored` mends them all."""
    return write_checkpoint(tmp_path_factory.mktemp("forged"), example())


def restored(path: Path) -> Path:
    return write_checkpoint(path.parent, example())


MANIFESTS = JSON | st.fixed_dictionaries(
    {
        "format_version": st.just(1) | JSON,
        "files": JSON
        | st.fixed_dictionaries(
            {
                name: JSON | st.fixed_dictionaries({"bytes": st.integers(0, 400) | JSON, "sha256": JSON})
                for name in FILES
            }
        ),
    }
)


@given(manifest=MANIFESTS.map(lambda value: json.dumps(value).encode()) | st.binary())
@such_as(manifest=b"[" * 100_000)
@such_as(manifest=b'{"format_version": ' + b"9" * 5000 + b"}")
@such_as(manifest=b'{"format_version": "\\n\\n"}')
def test_whatever_the_manifest_says_it_is_one_line(forged: Path, manifest: bytes) -> None:
    (forged / "manifest.json").write_bytes(manifest)
    assert refused(forged)


def test_a_newer_format_is_never_passed_over(tmp_path: Path) -> None:
    """Going on from the one before it would delete what the newer charrnn has trained."""
    for step in (1, 2):
        path = write_checkpoint(tmp_path, example(step))
    manifest = json.loads((path / "manifest.json").read_text()) | {"format_version": 2}
    (path / "manifest.json").write_text(json.dumps(manifest))
    said: list[str] = []
    with pytest.raises(RunError, match="is of format 2, and this charrnn reads 1: install a newer charrnn, or delete"):
        first_whole(newest_first(tmp_path), said.append)
    assert not said


@pytest.mark.parametrize("name", ["../../outside.txt", "/etc/passwd", "../step-00001200/../../outside.txt"])
def test_a_manifest_names_nothing_outside_its_directory(tmp_path: Path, name: str) -> None:
    """What it names beside the files that are ours is not even looked for; in their place, it is not enough."""
    path = write_checkpoint(tmp_path / "run" / "checkpoints", example())
    (tmp_path / "run" / "outside.txt").write_bytes((path / "config.json").read_bytes())
    assert (path / name).is_file()
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"] |= {name: {"bytes": 1, "sha256": "0"}, f"{name}.gone": {"bytes": 1, "sha256": "0"}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert read_files(path).keys() == set(FILES)
    manifest["files"][name] = manifest["files"].pop("config.json")
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert "not a whole checkpoint ('config.json')" in refused(path)


def safetensors(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + body


def one_tensor(dtype: object, shape: object, *offsets: object) -> bytes:
    return safetensors({"W_h": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}, bytes(8))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        safetensors(b"{}", length=2**63),
        safetensors(b"{}", length=2**64 - 1),
        safetensors(b"{}", length=10**8),
        safetensors(b"[" * 100_000),
        safetensors(b'{"a":' * 100_000),
        safetensors(b"\xff\xfe"),
        safetensors([]),
        safetensors({"W_h": None}),
        one_tensor("F32", [3], 0, 8),
        one_tensor("F32", [2**62, 4], 0, 8),
        one_tensor("F32", [-2], 0, 8),
        one_tensor("F32", [2], 8, 0),
        one_tensor("F32", [2], 0, 2**64 - 1),
        one_tensor("F32", [1], 0, 4),
        one_tensor("F999", [2], 0, 8),
        one_tensor("F8_E8M0", [8], 0, 8),  # in the format, and unknown to safetensors' own torch reader
        one_tensor("F4", [16], 0, 8),
    ],
)
def test_tensors_that_are_none(forged: Path, content: bytes) -> None:
    path = restored(forged)
    forge(path, "model.safetensors", content)
    assert "not a whole checkpoint" in refused(path)


def test_a_pickle_is_not_read(forged: Path) -> None:
    """Under the right name, with the right size and checksum."""
    path = restored(forged)
    torch.save({"W_h": torch.zeros(2, 3)}, path / "model.safetensors")
    forge(path, "model.safetensors", (path / "model.safetensors").read_bytes())
    assert "not a whole checkpoint" in refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"step": "1200"},
        {"step": -1},
        {"step": 1200.0},
        {"step": True},
        {"step": 2**63},
        {"epoch": None},
        {"characters_seen": [1]},
        {"evaluated": 1},
        {"validation_loss_nats": "1.5"},
        {"validation_loss_nats": 1},
        {"gradient_scaler": 65536.0},
        {"gradient_scaler": {"scale": "65536"}},
        {"gradient_scaler": []},
        {"gradient_scaler": {"scale": 65536.0, "growth_tracker": None}},
        {"unknown": 1},
    ],
)
def test_progress_of_other_types(forged: Path, change: dict[str, Any]) -> None:
    path = restored(forged)
    forge(path, "progress.json", json.dumps(asdict(example().progress) | change).encode())
    assert "not a whole checkpoint" in refused(path)


@pytest.mark.parametrize("name", ["progress.json", "config.json"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", b"null", b"[1]", b'"text"', b"9" * 5000])
def test_json_that_is_no_object(forged: Path, name: str, content: bytes) -> None:
    path = restored(forged)
    forge(path, name, content)
    assert "not a whole checkpoint" in refused(path)


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
    with (
        full_after(20_000),
        pytest.raises(RunError, match=r"checkpoint not written .*: free space or make it writable"),
    ):
        write_checkpoint(tmp_path, big(2))
    assert entries(tmp_path) == [before.name]
    assert_same(read_checkpoint(before), example(1))


def test_a_full_file_system(tmp_path: Path) -> None:
    """A real one, 64 KiB in memory; where this process may not mount, there is none to fill."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"not here: cannot mount: {mounted.stderr.decode().strip()}")
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
        "from tests.runs.test_checkpoint import big\n"
        "from charrnn.runs.checkpoint import prune, write_checkpoint\n"
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
    newest, *_ = complete = newest_first(tmp_path)
    for path in complete:
        checkpoint = read_checkpoint(path)
        assert_same(checkpoint, big(checkpoint.progress.step))
    prune(tmp_path, 1)
    assert newest.is_dir()
    assert not list(tmp_path.glob(".*"))
