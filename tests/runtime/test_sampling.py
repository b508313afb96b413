"""The sampler draws from the distribution that temperature, top-k and top-p define, and does so again for a seed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charrnn.errors import ConfigError
from charrnn.runtime import Sampler, SamplingConfig, fresh_seed
from charrnn.runtime.sampling import choose
from tests.test_splitmix import uniform_numbers

B, V = 3, 13
LOGITS = np.random.default_rng(5).normal(size=(B, V)).astype(np.float32)
logits_of = arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.floats(-50, 50, width=32))


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits.astype(np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def distribution(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> np.ndarray:
    """The definition, one character at a time: [V] probabilities for logits [V]."""
    kept, mass, allowed = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: top_k or None], 0.0, []
    within = dict(zip(kept, softmax(logits[kept], temperature), strict=True))
    for character in kept:
        allowed.append(character)
        mass += within[character]
        if mass >= top_p:
            break
    probabilities = np.zeros(len(logits))
    probabilities[allowed] = softmax(logits[allowed], temperature)
    return probabilities


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 0, 1.0), (1.0, 5, 1.0), (1.0, 0, 0.7), (0.8, 6, 0.8), (3.0, 1, 1.0)],
)
def test_frequencies(temperature: float, top_k: int, top_p: float) -> None:
    """Chi-square: by the Wilson-Hilferty approximation no statistic lies 4 standard deviations out."""
    steps, copies = 200, 100
    draws = steps * copies
    sampler = Sampler(SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p), 0, B * copies)
    logits = np.repeat(LOGITS, copies, axis=0)
    chosen = np.stack([sampler.choose(logits).reshape(B, copies) for _ in range(steps)], axis=1)
    for row in range(B):
        probabilities = distribution(LOGITS[row], temperature, top_k, top_p)
        possible = probabilities > 0
        counts = np.bincount(chosen[row].ravel(), minlength=V)
        assert counts[~possible].sum() == 0
        degrees = possible.sum() - 1
        if degrees == 0:
            continue
        expected = draws * probabilities[possible]
        statistic = float(((counts[possible] - expected) ** 2 / expected).sum())
        spread = 2 / (9 * degrees)
        assert abs((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) < 4


def test_rows_are_independent() -> None:
    """Rows of equal logits agree as often as chance has them agree."""
    steps, pairs = 200, 100
    draws = steps * pairs
    sampler = Sampler(SamplingConfig(), 0, 2 * pairs)
    chosen = np.stack([sampler.choose(LOGITS[[0] * 2 * pairs]) for _ in range(steps)])
    expected = float((softmax(LOGITS[0], 1.0) ** 2).sum())
    agreeing = float((chosen[:, ::2] == chosen[:, 1::2]).mean())
    assert abs(agreeing - expected) < 4 * math.sqrt(expected * (1 - expected) / draws)


def eligible(logits: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """The places, from the likeliest down, that are chosen where their noise is the loudest: bool [B, K]."""
    K = min(config.top_k or logits.shape[1], logits.shape[1])
    order = np.argsort(-logits, axis=1, kind="stable")
    mask = np.zeros((len(logits), K), bool)
    for place in range(K):
        noise = np.full(mask.shape, 2.0**-90 if config.top_p < 1 else 0, np.float32)
        noise[:, place] = 1000
        mask[:, place] = choose(logits, noise, config) == order[:, place]
    return mask


@given(logits_of, st.floats(0.01, 10), st.integers(1, 12), st.floats(0.001, 1))
def test_which_characters_can_be_chosen(logits: np.ndarray, temperature: float, top_k: int, top_p: float) -> None:
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    for row, allowed in zip(logits, eligible(logits, config), strict=True):
        top = np.sort(row)[::-1][:top_k]
        probabilities = softmax(top, temperature)
        before = np.concatenate([[0.0], np.cumsum(probabilities)[:-1]])
        # Where p falls on a sum, rounding decides (float32, sums of 9 numbers below 1); and 0 cannot be the loudest.
        clear = (np.abs(before - top_p) > 1e-6) & (probabilities > 1e-20) | (top_p == 1)
        np.testing.assert_array_equal(allowed[clear], ((before < top_p) | (top_p == 1))[clear])
        assert allowed[0]


@given(st.integers(1, V))
def test_exactly_k_of_equals_are_kept(k: int) -> None:
    sampler = Sampler(SamplingConfig(top_k=k), 0, B)
    chosen = np.stack([sampler.choose(np.zeros((B, V), np.float32)) for _ in range(100)])
    assert set(chosen.ravel().tolist()) == set(range(k))


@given(st.integers(0, 2**64 - 1), st.integers(1, 40), st.integers(1, 40))
def test_a_row_does_not_depend_on_its_neighbours(seed: int, few: int, many: int) -> None:
    config = SamplingConfig(temperature=0.9, top_k=8)
    few, many = sorted((few, many))
    small, large = Sampler(config, seed, few), Sampler(config, seed, many)
    logits = np.random.default_rng(0).normal(size=(many, V))
    for _ in range(20):
        np.testing.assert_array_equal(small.choose(logits[:few]), large.choose(logits)[:few])


def test_the_length_of_a_noise_block_does_not_show() -> None:
    """1500 rows of V=13 get 3 steps a block, one row 256."""
    one, many = Sampler(SamplingConfig(), 9, 1), Sampler(SamplingConfig(), 9, 1500)
    logits = np.broadcast_to(LOGITS[:1], (1500, V))
    assert [int(one.choose(LOGITS[:1])[0]) for _ in range(30)] == [int(many.choose(logits)[0]) for _ in range(30)]


def test_seeds_differ() -> None:
    def text(seed: int) -> list[list[int]]:
        sampler = Sampler(SamplingConfig(), seed, B)
        return [sampler.choose(LOGITS).tolist() for _ in range(40)]

    assert text(1) == text(1)
    assert text(1) != text(2)
    assert fresh_seed() != fresh_seed()


def test_temperature_0_takes_the_likeliest_and_the_first_among_equals() -> None:
    logits = np.array([[1, 3, 3, 2], [5, 1, 1, 1]], np.float32)
    ids = Sampler(SamplingConfig(temperature=0), 0, 2).choose(logits)
    assert ids.tolist() == [1, 0]
    assert ids.dtype == np.int64


@pytest.mark.parametrize("temperature", [1e-6, 1e-300, 5e-324])
@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_a_tiny_temperature_takes_the_likeliest(temperature: float, top_p: float) -> None:
    sampler = Sampler(SamplingConfig(temperature=temperature, top_p=top_p), 0, B)
    for _ in range(50):
        np.testing.assert_array_equal(sampler.choose(LOGITS * 100), LOGITS.argmax(axis=1))


@pytest.mark.parametrize("top_p", [1.0, 0.999])
def test_a_huge_temperature_draws_uniformly(top_p: float) -> None:
    sampler = Sampler(SamplingConfig(temperature=1.7e308, top_p=top_p), 0, B)
    counts = np.bincount(np.concatenate([sampler.choose(LOGITS * 100) for _ in range(1000)]), minlength=V)
    assert counts.min() > 0.7 * 3000 / V


def test_a_seed_or_a_number_of_samples_out_of_range() -> None:
    for seed in (-1, 2**64):
        with pytest.raises(ConfigError, match=f"seed is {seed}: it must be at least 0 and below"):
            Sampler(SamplingConfig(), seed, 1)
    for num_samples in (0, -3, 10**9):
        with pytest.raises(ConfigError, match=f"num-samples is {num_samples}: it must be at least 1 and at most"):
            Sampler(SamplingConfig(), 0, num_samples)


@pytest.mark.parametrize("top_k", [0, 5])
def test_the_text_of_a_seed_is_as_the_contract_says(top_k: int) -> None:
    """export/README.md: argmax of logits / T - log(e), e = -log(u), V or k numbers u a character."""
    seed, temperature = 11, 0.8
    sampler = Sampler(SamplingConfig(temperature=temperature, top_k=top_k), seed, B)
    rows = [uniform_numbers(seed, row, top_k or V) for row in range(B)]
    order = np.argsort(-LOGITS, axis=1, kind="stable")[:, :top_k] if top_k else np.tile(np.arange(V), (B, 1))
    for _ in range(600):
        e = -np.log([next(u) for u in rows])
        place = (np.take_along_axis(LOGITS, order, axis=1) / temperature - np.log(e)).argmax(axis=1)
        np.testing.assert_array_equal(sampler.choose(LOGITS), order[np.arange(B), place])


def test_the_text_of_a_seed_with_top_p_is_as_the_contract_says() -> None:
    """Of the characters that are left from the likeliest down, the one with the highest p / e."""
    seed, top_p = 12, 0.7
    sampler = Sampler(SamplingConfig(top_p=top_p), seed, B)
    rows = [uniform_numbers(seed, row, V) for row in range(B)]
    order = np.argsort(-LOGITS, axis=1, kind="stable")
    for _ in range(600):
        expected = []
        for row, u in enumerate(rows):
            probabilities = softmax(LOGITS[row, order[row]], 1.0)
            kept = np.concatenate([[0.0], np.cumsum(probabilities)[:-1]]) < top_p
            expected.append(order[row, (kept * probabilities / -np.log(next(u))).argmax()])
        np.testing.assert_array_equal(sampler.choose(LOGITS), expected)


def test_one_text_where_nobody_says_how_many() -> None:
    assert Sampler(SamplingConfig(), 1).noise(1, V).shape == (1, 1, V)
