"""A text, each character coloured by a value: how much it surprised the model, or what a unit was when it was read.

`scale` says what the colours mean, `coloured_text` what is shown; `html` and `png` are the two forms of the file.
`surprises` collects the characters of a score.
"""
