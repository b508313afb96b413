import re
from pathlib import Path

import pytest

from charrnn.errors import HubError
from charrnn.hub import HubAddress, is_address
from tests.anything import one_line


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://owner/name", ("owner/name", "", "")),
        ("hf://Owner_1/a.b-c@main", ("Owner_1/a.b-c", "main", "")),
        ("hf://owner/name@refs/pr/1", ("owner/name", "refs/pr/1", "")),
        ("hf://owner/name@v1.0+x", ("owner/name", "v1.0+x", "")),
        ("hf://owner/name/model-int8.onnx", ("owner/name", "", "model-int8.onnx")),
        ("hf://owner/name@refs/pr/1/model-int8.onnx", ("owner/name", "refs/pr/1", "model-int8.onnx")),
        ("hf://owner/name.onnx", ("owner/name.onnx", "", "")),
    ],
)
def test_addresses_are_read_and_written(text: str, parts: tuple[str, str, str]) -> None:
    address = HubAddress.parse(text)
    assert (address.repository, address.revision, address.file) == parts
    assert str(address) == text
    assert is_address(text)


def test_an_address_that_went_through_a_path_is_one() -> None:
    assert is_address(Path("hf://owner/name"))
    assert HubAddress.parse(str(Path("hf://owner/name@main"))) == HubAddress.parse("hf://owner/name@main")
    assert not is_address("./hf:/x")
    assert not is_address("runs/novel")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hf://",
            "hf://name",
            "hf://owner/",
            "hf:///name",
            "hf://owner/name@",
            "hf://owner/name@a b",
            "hf://o/n@../x",
        ),
        *("hf://owner/na--me", "hf://owner/../name", "hf://owner/name.git", "hf://-owner/name", "hf://owner/name-"),
        *("hf://owner/name/config.json", "hf://owner/name/a/b.onnx", "hf://owner/namé", f"hf://owner/{'n' * 91}"),
        *("hf://owner/name\n", "hf://owner/name@main\n", f"hf://owner/{'n' * 9000}"),
    ],
)
def test_what_is_no_address_is_told_in_one_line(text: str) -> None:
    with pytest.raises(HubError, match="is no address of a model on the Hub: write hf://OWNER/NAME") as caught:
        HubAddress.parse(text)
    assert len(one_line(caught.value)) < 300


@pytest.mark.parametrize("name", ["owner/name", "hf://owner/name"])
def test_a_repository(name: str) -> None:
    assert HubAddress.of_repository(name) == HubAddress(repository="owner/name")


@pytest.mark.parametrize("name", ["", "name", "owner/name@main", "owner/name/x", "https://h.co/owner/name", "o/a--b"])
def test_what_is_no_repository(name: str) -> None:
    with pytest.raises(HubError, match=f"^{re.escape(repr(name))} is no repository of the Hub: write OWNER/NAME"):
        HubAddress.of_repository(name)
