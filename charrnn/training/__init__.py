"""The training loop and all around it: schedule, evaluation, checkpoints, trackers, plots."""
