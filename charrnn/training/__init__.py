"""The learning: batches into a model, evaluation, and the story of a run."""

import os

# Read by the libraries when they are imported, which is why it stands here.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline means offline, crash reports included
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
