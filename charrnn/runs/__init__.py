"""What a run leaves: its directory, checkpoints, records, views."""
