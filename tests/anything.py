"""What a file may hold that nobody meant: any JSON; and what must come of it: one line."""

from hypothesis import strategies as st

from charrnn.errors import CharRNNError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def one_line(error: CharRNNError) -> str:
    """The message of an error, which must be one line."""
    (line,) = str(error).splitlines()
    return line
