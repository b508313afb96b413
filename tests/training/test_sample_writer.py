"""The model in training as the sampler's: many characters a call are as one after the other."""

import numpy as np

from charrnn.runtime.step_model import StepModel
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.sample_writer import TorchStep
from tests.training.small import H, L, V, model_of


def test_many_characters_a_call() -> None:
    model = TorchStep(model_of(seed=3).eval(), Vocabulary("".join(map(chr, range(97, 97 + V)))))
    tokens = np.random.default_rng(0).integers(0, V, (20, 3))
    logits, after = model.read(tokens, model.initial_state(3))
    assert (logits.shape, after[0].shape) == ((20, 3, V), (L, 3, H))
    state = model.initial_state(3)
    for token, expected in zip(tokens, logits, strict=True):
        one, state = model.step(token, state)
        np.testing.assert_allclose(one, expected, atol=1e-5)
    np.testing.assert_allclose(state[0], after[0], atol=1e-5)


def test_what_leaves_the_device_is_what_logits_would_have_told() -> None:
    model = TorchStep(model_of(seed=3).eval(), Vocabulary("".join(map(chr, range(97, 97 + V)))))
    ids = np.random.default_rng(1).integers(0, V, (21, 3)).astype(np.uint8)
    nats, guesses, after = model.predict(ids, model.initial_state(3))
    expected_nats, expected_guesses, expected_after = StepModel.predict(model, ids, model.initial_state(3))
    np.testing.assert_allclose(nats, expected_nats, atol=1e-5)
    np.testing.assert_array_equal(guesses, expected_guesses)
    np.testing.assert_allclose(after[0], expected_after[0], atol=1e-6)
