"""Which checkpoint is meant, where a run or one of its checkpoints is named."""

from collections.abc import Callable

from charrnn.errors import RunError
from charrnn.files import looking_at
from charrnn.runs.checkpoint import Checkpoint, best_first, first_whole, newest_first, read_checkpoint
from charrnn.runs.directory import RunDirectory, find_run

__all__ = ["choose_checkpoint", "find_checkpoint"]


def choose_checkpoint(directory: RunDirectory, name: str, say: Callable[[str], None]) -> Checkpoint:
    """The checkpoint `name` of a run, or where that is best or latest the first of them that is whole.

    say: is told of those that are passed over. Raises RunError where there is none.
    """
    orders = {"best": best_first, "latest": newest_first}
    checkpoints = directory.checkpoints
    with looking_at(checkpoints / name):
        if name not in orders and (checkpoints / name).is_dir():
            return read_checkpoint(checkpoints / name)
    with looking_at(directory.path):
        whole = first_whole(orders[name](checkpoints), say) if name in orders else None
        have = ", ".join(path.name for path in reversed(newest_first(checkpoints))) or "none"
    if whole is None:
        raise RunError(
            f"{directory.path}: has no checkpoint {name!r} (it has: {have}): name a run directory and one of its own"
        )
    return whole


def find_checkpoint(word: str, complaint: str, say: Callable[[str], None]) -> tuple[RunDirectory, Checkpoint]:
    """The run that `word` names, and of it the best checkpoint that is whole, or the one that `word` names itself.

    say: is told of those that are passed over. Raises RunError where there is none; where `word` names no run, that
    begins with `complaint` about it, as `find_run` does.
    """
    directory, named = find_run(word, complaint)
    checkpoint = read_checkpoint(named) if named else first_whole(best_first(directory.checkpoints), say)
    if checkpoint is None:
        raise RunError(f"{word}: has no checkpoint yet: name a run that has one")
    return directory, checkpoint
