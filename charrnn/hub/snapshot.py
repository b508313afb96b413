"""Files of one commit of a repository, in huggingface_hub's cache, as its config.json lists them.

huggingface_hub compares sizes, and what came by Xet with its hash, but no file that came by HTTP with a checksum.
Therefore config.json lists the other files with their SHA-256, and each is compared before it is used.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import charrnn
from charrnn.errors import HubError, reason
from charrnn.hub.address import HubAddress
from charrnn.hub.client import hub_calls

__all__ = ["check_files", "fetch_folder", "fetch_model_file", "listing"]

_CONFIG = "config.json"


def fetch_model_file(address: str) -> Path:
    """The ONNX file that `address` names, model.onnx where it names none, from the cache or fetched and checked.

    Raises HubError.
    """
    place = HubAddress.parse(address)
    name = place.file or "model.onnx"
    return fetch_folder(place, needed=(name,), wanted=(_CONFIG,)) / name


def fetch_folder(address: HubAddress, *, needed: Sequence[str], wanted: Sequence[str] = ()) -> Path:
    """The directory in the cache that holds the files `needed`, and of those that are `wanted` what there is.

    All are of the same commit. Where the Hub cannot be reached, it is the commit that was fetched last.
    Raises HubError where one is missing, or is not what config.json lists.
    """
    with hub_calls(str(address)) as hub:
        folder = Path(
            hub.snapshot_download(
                address.repository,
                revision=address.revision or None,
                allow_patterns=[*needed, *wanted],
                library_name="charrnn",
                library_version=charrnn.__version__,
            )
        )
    for name in needed:
        if not (folder / name).is_file():
            raise HubError(f"{address}: has no {name}: name a model that `charrnn-export RUN --hub` has put there")
    check_files(folder, [*needed, *wanted], str(address), cached=True)
    return folder


def check_files(folder: Path, names: Sequence[str], source: str, *, cached: bool = False) -> None:
    """Compare those of the files `names` that config.json lists with what it lists.

    cached: whether the folder is one of the cache, which then forgets a file that is not as listed.
    Raises HubError, which begins with `source`.
    """
    listed = _listed(folder, source, cached=cached)
    for name in names:
        file, expected = folder / name, listed.get(name)
        if expected is None or not file.is_file():
            continue
        try:
            found = _facts(file.read_bytes())
        except OSError as error:
            raise HubError(f"{source}: its {name} cannot be read ({reason(error)})") from error
        if found != expected:
            if cached:
                _forget(file)
            raise HubError(
                f"{source}: its {name} does not match its checksum in {_CONFIG}: it was altered on the way, or there; "
                "try again, or name another revision"
            )


def listing(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What config.json lists of `files`: size in bytes and SHA-256 of each, by name."""
    return {name: _facts(data) for name, data in files.items()}


def _facts(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _listed(folder: Path, source: str, *, cached: bool) -> dict[str, Any]:
    """The list in a folder's config.json; empty where there is none, as in what others have put there."""
    try:
        config = json.loads((folder / _CONFIG).read_bytes())
        listed = config.get("files", {})
        return dict(listed)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        if cached:
            _forget(folder / _CONFIG)
        raise HubError(f"{source}: its {_CONFIG} is damaged: try again, or name another revision") from error


def _forget(file: Path) -> None:
    """Delete a file of the cache, which is fetched again then. Mostly it is a link, to a blob beside the snapshots."""
    with suppress(OSError):
        blob = file.parent / file.readlink() if file.is_symlink() else None
        file.unlink()
        if blob:
            blob.unlink()
