"""From Python, a notebook above all: a run by one call, and what it has made."""

import warnings

with warnings.catch_warnings():
    # Imported by libraries in a notebook, it asks for ipywidgets, which nothing here needs.
    warnings.filterwarnings("ignore", "IProgress not found")
    import tqdm.auto  # noqa: F401
