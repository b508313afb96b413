"""What charrnn-sample does with a model: `texts` and a `score_report`, written to standard output.

`options` is what the user asks for, `input` and `output` are the streams and files; the other modules serve these.
The third thing that it does, the editor of --interactive, is charrnn.autocomplete.
"""
