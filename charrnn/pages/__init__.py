"""What a text looks like to a model, as pages and pictures."""
