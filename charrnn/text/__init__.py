"""Text: corpus -> normalised text -> vocabulary -> encoded stream -> windows.

Importing this package imports none of its modules: `vocabulary`, `normaliser_steps` and `normaliser` need numpy alone,
the others pyarrow and datasets too.
"""
