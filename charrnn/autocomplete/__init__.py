"""A text that is edited on a terminal, with the model's continuations."""
