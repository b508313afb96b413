"""huggingface_hub: imported where it is used, quiet, and what it raises told in one line.

Caching, logins and the network are its own: HF_HOME, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE mean what they always do.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from charrnn.errors import HubError, first_line

__all__ = ["check_login", "hub_calls"]

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_BY_STATUS = {
    401: f"the Hub does not accept the login (401): {_LOGIN}",
    403: "the Hub does not allow it (403): use a token that may, or a repository of your own",
    429: "the Hub asks for fewer requests (429): wait a few minutes",
}


@contextmanager
def hub_calls(name: str) -> Iterator[Any]:
    """Yields huggingface_hub, to be asked about the model `name`, which the message names where that fails.

    Raises HubError for whatever it raises: no such repository or revision, no login, no network, a full disk, ...
    """
    # huggingface_hub would tell which libraries are installed and what it is called by; it reads this when imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
        import huggingface_hub.constants  # what it makes of its environment variables
        from huggingface_hub import errors, utils
    except ModuleNotFoundError as error:
        raise HubError(f"{name}: models of the Hub need huggingface_hub: pip install 'charrnn[hub]'") from error
    except ValueError as error:
        problem = f"huggingface_hub cannot be used as the environment has it ({first_line(error)})"
        raise HubError(f"{name}: {problem}: look at HF_ENDPOINT and the other variables that begin so") from error
    # What goes wrong between the machines is httpx's or httpx2's, by huggingface_hub's version.
    network: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    try:
        with _quiet(utils):
            yield huggingface_hub
    except (network, errors.EntryNotFoundError, OSError, ValueError, RuntimeError) as error:
        raise HubError(f"{name}: {_explained(_root(error, errors), errors, network)}") from error


def check_login(name: str) -> None:
    """Raise HubError, about the model `name`, where nobody is logged in: now, and not when all has been computed."""
    with hub_calls(name) as hub:
        if hub.get_token() is None:
            raise HubError(
                f"{name}: nobody is logged in to the Hub here: run `hf auth login`, or set HF_TOKEN to a token that "
                "may write"
            )


def _root(error: BaseException, errors: Any) -> BaseException:
    """What happened, where huggingface_hub has wrapped it into what it could not do then."""
    while isinstance(error, RuntimeError | FileNotFoundError) and error.__cause__ is not None:
        if isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            break  # that something is not in the cache is what happened
        error = error.__cause__
    return error


def _explained(error: BaseException, errors: Any, network: type) -> str:
    if isinstance(error, errors.GatedRepoError):
        return f"is gated: ask for access on its page, then {_LOGIN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no such repository, or it is private: check the name, or {_LOGIN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return "has no such revision: name a branch, a tag or a commit that it has"
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "the Hub is not asked while offline: unset HF_HUB_OFFLINE"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return "is not in the cache, and the Hub is not asked while offline: unset HF_HUB_OFFLINE once to fetch it"
    if isinstance(error, network):
        return (
            f"the Hub cannot be reached ({first_line(error)}): try again (what was fetched once is there offline, too)"
        )
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}: free space or change permissions there, or set HF_HOME to another place"
    return f"{first_line(error)} (try again)"


def _refusal(error: Any) -> str:
    """What an HTTP status means that huggingface_hub has no error of its own for."""
    status = error.response.status_code
    said = getattr(error, "server_message", None)
    detail = f" {said.splitlines()[0]!r}" if said else ""
    return _BY_STATUS.get(status) or f"the Hub answers {status}{detail}: try again later"


@contextmanager
def _quiet(utils: Any) -> Iterator[None]:
    """Keep its bars, logs and warnings off the terminal: what fails is raised."""
    logger = logging.getLogger("huggingface_hub")
    level, had_bars = logger.level, not utils.are_progress_bars_disabled()
    with warnings.catch_warnings(action="ignore"):
        utils.disable_progress_bars()
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
            if had_bars:
                utils.enable_progress_bars()
