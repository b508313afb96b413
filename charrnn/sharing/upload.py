"""A run to the Hub, in one commit: a repository never holds a part of a model."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import charrnn
from charrnn.errors import HubError
from charrnn.export import OPSET
from charrnn.hub import HubAddress, check_login, hub_calls
from charrnn.runs.choice import choose_checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.runs.messages import warn
from charrnn.sharing.bundle import NAMES, Bundle, bundle
from charrnn.sharing.card import check_license

__all__ = ["Pushed", "push", "push_run"]


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What a push has made."""

    address: HubAddress
    """With the commit as its revision."""
    url: str
    """The repository's page."""
    private: bool
    """Whether its owner alone sees it."""
    step: int
    """Of the checkpoint."""
    size_bytes: int
    """Of all files."""


def push(
    run: str | os.PathLike[str],
    repository: str,
    *,
    checkpoint: str = "best",
    public: bool = False,
    license: str = "",
    opset: int = OPSET,
) -> str:
    """Put a run's model on the Hub, into the repository OWNER/NAME, which is made (private) where it is not there.

    checkpoint: best, latest, or the name of one. public: make the repository for everybody to see. license: the Hub's
    identifier, for the model card. Asks nothing: the login is `hf auth login`'s or HF_TOKEN.
    Returns the address, with the commit: `charrnn.load` takes it. Raises HubError, RunError, ConfigError.
    """
    say = partial(warn, speaker="charrnn")
    pushed = push_run(run, repository, checkpoint=checkpoint, public=public, license=license, opset=opset, say=say)
    return str(pushed.address)


def push_run(
    run: str | os.PathLike[str],
    repository: str,
    *,
    checkpoint: str,
    public: bool,
    license: str,
    opset: int,
    say: Callable[[str], None],
) -> Pushed:
    """As `push`, whose arguments these are. say: is told of checkpoints that are passed over."""
    address = HubAddress.of_repository(repository)
    check_license(license)
    check_login(str(address))
    directory = RunDirectory(Path(run))
    chosen = choose_checkpoint(directory, checkpoint, say)
    return _upload(address, bundle(directory, chosen, address.repository, license=license, opset=opset), public=public)


def _upload(address: HubAddress, made: Bundle, *, public: bool) -> Pushed:
    name = address.repository
    with hub_calls(str(address)) as hub:
        api = hub.HfApi(library_name="charrnn", library_version=charrnn.__version__)
        url = api.create_repo(name, private=not public, exist_ok=True)
        there = api.model_info(name)
        if not there.private and not public:
            raise HubError(
                f"{address}: is public: say that everybody may see the model (--hub-public; in Python public=True), "
                "or name another repository"
            )
        before = {file.rfilename for file in there.siblings or []}
        old = [each for each in NAMES if each in before and each not in made.files]
        commit = api.create_commit(
            name,
            [
                *(hub.CommitOperationAdd(path, data) for path, data in made.files.items()),
                *(hub.CommitOperationDelete(path) for path in old),
            ],
            commit_message=f"charrnn {charrnn.__version__}: step {made.step:,}",
        )
    return Pushed(
        address=HubAddress(repository=name, revision=commit.oid),
        url=str(url),
        private=bool(there.private),
        step=made.step,
        size_bytes=sum(map(len, made.files.values())),
    )
