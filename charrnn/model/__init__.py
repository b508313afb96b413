"""CharRNN and the ways of running its recurrence. Imports torch alone."""

from charrnn.model.architecture import Architecture, ModelConfig
from charrnn.model.char_rnn import CharRNN

__all__ = ["Architecture", "CharRNN", "ModelConfig"]
