"""Heatmaps: a text, each character coloured by how much it surprised the model.

`coloured_text` collects the characters while they are scored; `html` and `png` are the two forms of the file.
"""
