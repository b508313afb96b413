"""charrnn-sample --interactive: a text is edited on a terminal, and the model suggests how it goes on.

`completion` finds the suggestions, `editor` is the text with what keys do to it, `terminal` reads keys and draws.
"""
