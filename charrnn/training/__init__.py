"""The learning: batches into a model, evaluation, and the story of a run."""
