"""CharRNN and the ways of running its recurrence. Imports torch alone."""

from charrnn.model.char_rnn import CharRNN
from charrnn.model.config import Architecture, ModelConfig

__all__ = ["Architecture", "CharRNN", "ModelConfig"]
