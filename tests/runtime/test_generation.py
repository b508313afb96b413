"""generate() is the notebook's: the prompt primes the model, and comes back with its continuation."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn import OnnxModel, generate
from charrnn.errors import ConfigError, ModelFileError, VocabularyError
from charrnn.runtime import Sampler, SamplingConfig, encode_prompt, generate_many, stream_ids
from charrnn.runtime.stream import start_id
from charrnn.text.vocabulary import Vocabulary
from tests.runtime.handmade import HandMade


@pytest.mark.parametrize(("L", "seed"), [(1, 2), (1, 8), (2, 2), (2, 9)])
def test_greedy_text_is_numpys(tmp_path: Path, L: int, seed: int) -> None:
    reference = HandMade(L=L, seed=seed)
    path = reference.save(tmp_path / "model.onnx")
    text = generate(path, "abc", 100, temperature=0)
    assert text == reference.greedy("abc", 100)
    assert len(set(text[3:])) > 1


def test_the_prompt_is_normalised_and_echoed(tmp_path: Path) -> None:
    normaliser = [{"step": "lowercase"}, {"step": "keep", "characters": "abc"}]
    reference = HandMade(normaliser=normaliser)
    path = reference.save(tmp_path / "model.onnx")
    assert generate(path, "A? B-C", 50, temperature=0) == reference.greedy("abc", 50)


def test_a_seed_gives_its_text_again(model: OnnxModel) -> None:
    assert generate(model, "abc", seed=7) == generate(model.path, "abc", seed=7)
    assert generate(model, "abc", seed=7) != generate(model, "abc", seed=8)
    assert generate(model, "abc") != generate(model, "abc")
    assert len(generate(model, "abc")) == 3 + 200


@pytest.mark.parametrize("num_samples", [2, 5, 33])
def test_samples_do_not_depend_on_how_many_are_made(model: OnnxModel, num_samples: int) -> None:
    many = generate_many(model, "ab", 60, num_samples=num_samples, seed=3, top_k=9)
    assert len(set(many)) == num_samples
    assert many[0] == generate(model, "ab", 60, seed=3, top_k=9)
    assert many[:2] == generate_many(model, "ab", 60, num_samples=2, seed=3, top_k=9)


def test_sampling_follows_the_model(model: OnnxModel) -> None:
    """The first characters of many samples occur as the logits after the prompt say."""
    num_samples, temperature = 4000, 0.7
    texts = generate_many(model, "abc", 1, num_samples=num_samples, seed=0, temperature=temperature)
    reference, state = HandMade(), np.zeros((1, 1, 7), np.float32)
    for character in "abc":
        logits, state = reference.step(np.array([reference.characters.index(character)]), state)
    weights = np.exp((logits[0] - logits.max()) / temperature)
    probabilities = weights / weights.sum()
    counts = np.array([sum(text[3] == character for text in texts) for character in reference.characters])
    deviations = (counts - num_samples * probabilities) / np.sqrt(num_samples * probabilities * (1 - probabilities))
    assert np.abs(deviations).max() < 4


@pytest.mark.parametrize(("characters", "unseen"), [("\n abc", "\n"), (" abc", " "), ("abc", "a")])
def test_an_empty_prompt_starts_after_an_unseen_character(tmp_path: Path, characters: str, unseen: str) -> None:
    reference = HandMade(characters=characters)
    assert start_id(Vocabulary(characters)) == characters.index(unseen)
    text = generate(reference.save(tmp_path / "model.onnx"), length=30, temperature=0)
    assert unseen + text == reference.greedy(unseen, 30)


def test_the_stream_yields_each_character_when_it_is_made(model: OnnxModel) -> None:
    sampler = Sampler(SamplingConfig(), 0, 3)
    stream = stream_ids(model, encode_prompt(model, "ab"), length=10**12, sampler=sampler)
    ids = np.stack([next(stream) for _ in range(20)])
    assert ids.shape == (20, 3)
    assert model.vocabulary.decode(ids[:, 1]) == generate_many(model, "ab", 20, num_samples=3, seed=0)[1][2:]


def test_unknown_characters_of_the_prompt(model: OnnxModel) -> None:
    with pytest.raises(VocabularyError, match=r"'é'.*position 2"):
        generate(model, "abé")
    assert model.vocabulary.decode(encode_prompt(model, "abéc", skip_unknown=True)) == "abc"


@pytest.mark.parametrize("length", [0, -1])
def test_a_length_out_of_range(model: OnnxModel, length: int) -> None:
    with pytest.raises(ConfigError, match=f"length is {length}: it must be at least 1"):
        generate(model, "abc", length)


@pytest.mark.parametrize("wrong", [-1, 14])
def test_ids_of_another_vocabulary(model: OnnxModel, wrong: int) -> None:
    """onnxruntime itself takes -1 for the last character."""
    with pytest.raises(VocabularyError, match="at least 0 and below 14"):
        stream_ids(model, np.array([0, wrong]), length=1, sampler=Sampler(SamplingConfig(), 0))


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        generate(tmp_path / "missing.onnx", "abc")


def test_a_text_does_not_depend_on_how_many_are_made_beside_it(model: OnnxModel) -> None:
    """Many are written in groups of equal size, at most 128."""
    many = generate_many(model, "abc", 40, num_samples=300, seed=3)
    assert len(set(many)) == 300
    for fewer in (1, 2, 128, 129, 257):
        assert generate_many(model, "abc", 40, num_samples=fewer, seed=3) == many[:fewer]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="not here: only Linux tells a process's peak memory")
def test_many_samples_of_a_large_vocabulary_take_little_memory(tmp_path: Path) -> None:
    """4,096 texts, a vocabulary of 4,000: all logits of a character, and the noise for them, would be 280 MB."""
    path = HandMade(characters="".join(map(chr, range(0x4E00, 0x4E00 + 4000)))).save(tmp_path / "model.onnx")
    script = (
        "import re, sys\n"
        "from charrnn.runtime import generate_many, load\n"
        "def peak(): return int(re.search('VmHWM:([^k]+)', open('/proc/self/status').read())[1])\n"
        "model = load(sys.argv[1])\n"
        "generate_many(model, '', 1, num_samples=2)\n"
        "before = peak()\n"
        "generate_many(model, '', 1, num_samples=4096)\n"
        "print(peak() - before)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True)
    assert int(result.stdout) < 120_000  # KiB
