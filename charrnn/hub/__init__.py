"""Models on the Hugging Face Hub: their addresses, and their files in huggingface_hub's cache, checked."""

from charrnn.hub.address import HubAddress, is_address
from charrnn.hub.client import check_login, hub_calls
from charrnn.hub.snapshot import check_files, fetch_folder, fetch_model_file, listing

__all__ = [
    "HubAddress",
    "check_files",
    "check_login",
    "fetch_folder",
    "fetch_model_file",
    "hub_calls",
    "is_address",
    "listing",
]
