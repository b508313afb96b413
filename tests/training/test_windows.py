"""Training without what Windows has not, as far as Linux can act it."""

import json
from pathlib import Path

from tests.conftest import command_line, finish

RUN = """
import enum, errno, fcntl, os, shutil, signal, sys
# These look at the system when they are imported, and would look for Windows' own libraries.
import accelerate.tracking, datasets, filelock, matplotlib.figure, onnx, onnxruntime, psutil, torch.onnx, tqdm, tyro
import onnxscript, safetensors.torch, torch._inductor, wandb

for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGKILL", "SIGPIPE"):
    delattr(signal, name)
names = signal.Signals.__members__.items()
signal.Signals = enum.IntEnum("Signals", {name: value for name, value in names if hasattr(signal, name)})
for name in ("fork", "getuid", "geteuid", "getgid", "getpgid", "killpg", "mkfifo", "sched_getaffinity", "uname"):
    delattr(os, name)
flags_of, get_flags = fcntl.fcntl, fcntl.F_GETFL
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
open_file, flush, rename, platform = os.open, os.fsync, os.rename, sys.platform

def no_directories(path, *arguments, **options):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return open_file(path, *arguments, **options)

def written_files_only(descriptor):
    if flags_of(descriptor, get_flags) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    flush(descriptor)

def never_onto(source, target, **options):
    if os.path.exists(target):
        raise FileExistsError(errno.EEXIST, "File exists", target)
    rename(source, target, **options)

os.open, os.fsync, os.rename, shutil._use_fd_functions = no_directories, written_files_only, never_onto, False
for act in (lambda: os.open("/", os.O_RDONLY), lambda: os.rename("/proc", "/sys")):
    try:
        act()
    except (PermissionError, FileExistsError):
        continue
    sys.exit("it does not act Windows")
sys.platform = "win32"

from charrnn.cli.train import main
from charrnn.training.learner import Learner

train_step = Learner.train_step_collective

def stopped(self):
    norm = train_step(self)
    if self.step == last == 4:
        signal.raise_signal(signal.SIGINT)  # Ctrl-C
    return norm

Learner.train_step_collective = stopped
statuses = []
for last in (4, 99):
    try:
        main()
    except SystemExit as end:
        statuses.append(end.code)
sys.platform = platform  # for the libraries' own farewells
print(statuses)
"""


def test_a_run_is_stopped_and_goes_on_without_posix(tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Stopped at an evaluation's step, which is saved again when the run goes on.
    flags = ["--max-steps", 8, "--evaluate-every", 4, "--log.sample-length", 5, "--log.wandb", "disabled"]
    finished = finish(run, command_line("-c", RUN, "alphabet", "--run-dir", run, *flags))
    assert finished.stderr == ""
    assert finished.stdout.splitlines()[-1] == "[130, 0]", finished.stdout
    assert "stopped by signal 2 at step 4; the same command continues" in finished.stdout
    assert f"run       {run}, resumed at step 4\n" in finished.stdout
    assert [record["step"] for record in finished.records("validation_loss_nats")] == [4, 8]
    assert json.loads((run / "config.json").read_text())["config"]["stop_signal"] == ""
    assert (run / "model.onnx").exists()
