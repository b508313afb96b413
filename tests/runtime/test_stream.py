"""OnnxModel.stream: characters one by one, a state to continue from, many streams of one model at the same time."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn import OnnxModel
from charrnn.errors import ConfigError, VocabularyError
from charrnn.runtime import Sampler, SamplingConfig, encode_prompt, generate_many, stream_ids
from tests.runtime.handmade import HandMade


def test_it_yields_what_generate_returns_without_the_prompt(model: OnnxModel) -> None:
    settings = {"temperature": 0.8, "top_k": 6, "top_p": 0.9, "seed": 5}
    text = model.stream("abc", length=90, **settings)
    assert iter(text) is text
    assert "".join(text) == charrnn.generate(model, "abc", 90, **settings)[3:]
    assert next(text, None) is None


def test_it_is_endless_without_a_length(model: OnnxModel) -> None:
    assert "".join(islice(model.stream("abc", seed=1), 500)) == charrnn.generate(model, "abc", 500, seed=1)[3:]


@pytest.mark.parametrize("taken", [0, 1, 2, 15, 16, 17, 63, 64, 150])
def test_a_text_goes_on_from_its_state(model: OnnxModel, taken: int) -> None:
    """At any place: a block of characters may be written ahead, of which only some were yielded."""
    text = model.stream("abc", temperature=0)
    begun = "".join(islice(text, taken))
    state = text.state
    whole = HandMade().greedy("abc" + begun + "dig", 60)
    for _ in range(2):  # a state serves more than once
        assert "".join(model.stream("dig", temperature=0, length=60, state=state)) == whole[len(begun) + 6 :]
    assert "".join(islice(text, 200)) == HandMade().greedy("abc", taken + 200)[3 + taken :]


def test_a_state_needs_no_further_prompt(model: OnnxModel) -> None:
    text = model.stream("abc", temperature=0)
    begun = "".join(islice(text, 20))
    assert begun + "".join(model.stream(temperature=0, length=30, state=text.state)) == HandMade().greedy("abc", 50)[3:]


def test_many_texts_go_on_from_their_state(model: OnnxModel) -> None:
    greedy = SamplingConfig(temperature=0)
    texts = stream_ids(model, encode_prompt(model, "ab"), length=None, sampler=Sampler(SamplingConfig(), 3, 4))
    begun = np.stack(list(islice(texts, 70)))
    after = stream_ids(model, encode_prompt(model, "gh"), length=9, sampler=Sampler(greedy, 0, 4), state=texts.state)
    for row, continued in enumerate(np.stack(list(after)).T):
        text = "ab" + model.vocabulary.decode(begun[:, row]) + "gh"
        assert text + model.vocabulary.decode(continued) == HandMade().greedy(text, 9)


def test_threads_share_a_model(tmp_path: Path) -> None:
    """Each thread's texts are those of a program without threads."""
    model = charrnn.load(HandMade(L=2, H=130).save(tmp_path / "model.onnx"))

    def write(seed: int) -> str:
        many = generate_many(model, "abc", 120, num_samples=2, seed=seed)
        return "".join(islice(model.stream("abc", seed=seed, top_k=5), 300)) + many[1]

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(write, range(24)))
    alone = charrnn.load(model.path)
    assert len(set(together)) == 24
    assert together == [
        "".join(alone.stream("abc", length=300, seed=seed, top_k=5))
        + generate_many(alone, "abc", 120, num_samples=2, seed=seed)[1]
        for seed in range(24)
    ]


def test_a_mistake_is_told_at_the_call(model: OnnxModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="length is 0: it must be at least 1"):
        model.stream("abc", length=0)
    with pytest.raises(ConfigError, match="temperature is -1"):
        model.stream("abc", temperature=-1)
    with pytest.raises(VocabularyError, match=r"'é'.*position 1"):
        model.stream("aé")
    other = charrnn.load(HandMade(H=8).save(tmp_path / "other.onnx"))
    with pytest.raises(ConfigError, match="another model's"):
        model.stream("abc", state=other.stream("abc").state)
    two = stream_ids(model, encode_prompt(model, "ab"), length=3, sampler=Sampler(SamplingConfig(), 3, 2))
    next(two)
    with pytest.raises(ConfigError, match="of 2 texts: it can continue as 2, not as 1"):
        model.stream("abc", state=two.state)
