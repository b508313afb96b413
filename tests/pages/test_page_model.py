"""The page's own script under Node.js computes what onnxruntime computes, and writes what Python writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import charrnn
from charrnn.autocomplete.completion import Completion, EditedText
from charrnn.export import Weights
from charrnn.pages.writing_page import OPERATORS, check_operators, writing_page
from charrnn.runtime import OnnxModel
from charrnn.text.normaliser import Normaliser
from tests.pages.kernel import WEB, build
from tests.pages.models import CHARACTERS, model_file, node, settings
from tests.runtime.handmade import HandMade, two_states

FILES: list[tuple[str, int, Weights]] = [
    *((cell, L, weights) for cell in ("tanh", "gru", "lstm") for L in (1, 2) for weights in ("float32", "int8")),
    ("lstm", 2, "float16"),
]
LENGTH = 300
PROMPT = "a\u00e9 \U0001f600b\n"
Page = Callable[[bytes], tuple[Path, OnnxModel]]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """The page of a model, and the model."""

    def make(file: bytes) -> tuple[Path, OnnxModel]:
        (tmp_path / "model.onnx").write_bytes(file)
        path = tmp_path / "page.html"
        path.write_bytes(writing_page(file, "a model"))
        return path, OnnxModel.load(tmp_path / "model.onnx")

    return make


def logits_of(model: OnnxModel, ids: list[int]) -> np.ndarray:
    """What onnxruntime has after each of `ids`: [T, V]."""
    state, rows = model.initial_state(1), []
    for character in ids:
        logits, state = model.step(np.array([character]), state)
        rows.append(logits[0])
    return np.stack(rows)


def floats(bits: list[list[int]]) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


@pytest.mark.parametrize(("cell", "L", "weights"), FILES)
def test_logits_and_texts_are_those_of_python(page: Page, cell: str, L: int, weights: Weights) -> None:
    path, model = page(model_file(cell, L, weights))
    ids = np.random.default_rng(0).integers(0, len(CHARACTERS), LENGTH).tolist()
    ways: list[dict[str, Any]] = [
        {"temperature": 0},
        {},
        {"temperature": 0.7, "top_k": 5},
        {"temperature": 1.3, "top_p": 0.8},
        {"top_k": 9, "top_p": 0.9},
    ]
    seeds = [2**64 - 5, 7, 0, 1, 2**40]
    got, *texts = node(
        path,
        {"command": "logits", "ids": ids},
        *(
            {"command": "write", "prompt": PROMPT, "length": LENGTH, "seed": str(seed), "settings": settings(**way)}
            for seed, way in zip(seeds, ways, strict=True)
        ),
    )
    if weights == "int8":  # states are rounded before they are multiplied, and sums of whole numbers are exact
        np.testing.assert_array_equal(floats(got), logits_of(model, ids))
    else:  # sums of floats, in another order
        np.testing.assert_allclose(floats(got), logits_of(model, ids), rtol=0, atol=2e-5)
    for seed, way, text in zip(seeds, ways, texts, strict=True):
        assert text == charrnn.generate(model, PROMPT, length=LENGTH, seed=seed, **way)
    assert len(set(texts[1])) > 12, "and not a few letters for ever"


def test_a_model_made_by_hand(page: Page) -> None:
    """Nothing depends on names of weights or on the order of inputs; sizes of another state are its own."""
    made = HandMade(L=3, H=21, characters=CHARACTERS)
    path, _ = page(made.proto().SerializeToString())
    write = {"command": "write", "prompt": "abc", "length": 60, "seed": "0", "settings": settings(temperature=0)}
    assert node(path, write) == [made.greedy("abc", 60)]
    path, model = page(two_states(len(CHARACTERS), 5, made.metadata()).SerializeToString())
    (got,) = node(path, {"command": "logits", "ids": [3, 1, 3]})
    np.testing.assert_allclose(floats(got), logits_of(model, [3, 1, 3]), rtol=0, atol=2e-5)


def test_an_empty_prompt(page: Page) -> None:
    path, model = page(model_file("gru", 1, "int8"))
    write = {"command": "write", "prompt": "", "length": 50, "seed": "3", "settings": settings()}
    assert node(path, write) == [charrnn.generate(model, "", length=50, seed=3)]


def test_surprises_whatever_was_read_before(page: Page) -> None:
    """A text that changes in its middle, at its end, and whole; longer than all states that are kept."""
    path, model = page(model_file("lstm", 1, "int8"))
    rng = np.random.default_rng(1)
    long = "".join(rng.choice(list(CHARACTERS), 1500))
    texts = [long, long[:700] + "abc" + long[900:], long[:1499], "", "a", long[:300]]
    for text, bits in zip(texts, node(path, {"command": "surprises", "texts": texts})[0], strict=True):
        ids = model.vocabulary.encode(text).astype(np.int64)[:, None]
        expected = model.predict(ids, model.initial_state(1))[0][:, 0] / np.log(2) if len(text) > 1 else []
        np.testing.assert_allclose(bits, expected, rtol=0, atol=1e-4)


def test_completions_are_those_of_the_terminal(page: Page) -> None:
    path, model = page(model_file("gru", 2, "int8"))
    for text in ("", "abc", "no \U0001f600 de"):
        edited = EditedText(model)
        expected = Completion(model).suggest(edited.read(model.vocabulary.encode(text)))
        (got,) = node(path, {"command": "suggest", "text": text})
        assert [each["text"] for each in got] == [each.text for each in expected]
        np.testing.assert_allclose(
            [each["probability"] for each in got], [each.probability for each in expected], rtol=1e-4
        )


NORMALISERS = [
    [],
    [{"step": "lowercase"}],
    [{"step": "tabs"}],
    [{"step": "nfkd"}, {"step": "lf"}, {"step": "tabs"}],
    [{"step": "lf"}, {"step": "keep", "characters": "abc\n\u03c3 ", "replacement": " "}],
    [{"step": "keep", "characters": "abc\n"}],
    *([{"step": form}] for form in ("nfc", "nfd", "nfkc", "nfkd")),
    [{"step": "nfd"}, {"step": "lowercase"}, {"step": "lf"}],
]


@pytest.mark.parametrize("steps", NORMALISERS, ids=lambda steps: "-".join(step["step"] for step in steps) or "none")
def test_the_normaliser_is_that_of_python(page: Page, steps: list[dict[str, str]]) -> None:
    alphabet = "".join(
        dict.fromkeys("abcABC\r\n \u03a3\u03c3e\u0301\u0308\u00e9\u00c9\ufb01\u1100\u1161\u11a8\uac01\u0130\U0001f600")
    )
    rng = np.random.default_rng(2)
    texts = ["", "\r\n\r", "\r", *("".join(rng.choice(list(alphabet), 40)) for _ in range(40))]
    texts += ["".join(rng.choice(["\n", "\r\n", " ", " " * 5, " " * 12, "\t", "ab"], 20)) for _ in range(40)]
    normaliser = Normaliser.from_list(steps)
    known = "".join(sorted(set(normaliser("".join(texts))) - {"e"} | {"a"}))
    path, _ = page(HandMade(characters=known, normaliser=steps).proto().SerializeToString())
    for text, got in zip(texts, node(path, *({"command": "prompt", "text": text} for text in texts)), strict=True):
        normal = normaliser(text)
        assert got["text"] == "".join(c for c in normal if c in known)
        assert got["ends"] == sorted(got["ends"])
        assert all(0 < end <= len(text.encode("utf-16-le")) // 2 for end in got["ends"])
        if got["text"]:
            assert set(got["unknown"]) == set(normal) - set(known)


@pytest.mark.parametrize("seed", range(4))
def test_line_ends_are_those_of_the_models_texts(page: Page, seed: int) -> None:
    """A textarea knows LF alone; a model of texts with CR LF is asked whether it expects CR where a line ends."""
    path, model = page(HandMade(characters="\n\rabc", seed=seed).proto().SerializeToString())
    lf, cr, *_ = logits_of(model, [0])[0]
    assert node(path, {"command": "lineEnd"}) == ["\r\n" if cr > lf else "\n"]
    path, _ = page(HandMade(characters="\rabc").proto().SerializeToString())
    assert node(path, {"command": "lineEnd"}) == ["\r"]


def test_the_script_knows_the_operators_that_are_checked(page: Page) -> None:
    path, _ = page(model_file("tanh", 1, "int8"))
    assert node(path, {"command": "operators"}) == [sorted(OPERATORS)]
    for cell in ("tanh", "gru", "lstm"):
        for weights in get_args(Weights):
            if weights != "int4":
                check_operators(model_file(cell, 2, weights))


def test_the_kernel_is_what_its_text_says() -> None:
    """After a change of kernel.wat: `python -m tests.pages.kernel`."""
    assert (WEB / "kernel.wasm").read_bytes() == build((WEB / "kernel.wat").read_text())
