"""The shortest client of export/README.md, always taking the likeliest: `python greedy.py model.onnx "prompt" 200`."""

import json
import sys

import numpy as np
import onnxruntime


def main() -> None:
    """Print the prompt (one character at least, already normalised) and its continuation."""
    path, prompt, length = sys.argv[1], sys.argv[2], int(sys.argv[3])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["charrnn.format_version"] == "1"
    characters = json.loads(metadata["charrnn.vocabulary"])["characters"]

    def step(token: int, states: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        logits, *after = session.run(
            ["logits", *(f"next_{name}" for name in states)], {"token": np.array([token]), **states}
        )
        return logits[0], dict(zip(states, after, strict=True))

    inputs = [node for node in session.get_inputs() if node.name != "token"]
    states = {node.name: np.zeros((node.shape[0], 1, node.shape[2]), np.float32) for node in inputs}
    for character in prompt:
        logits, states = step(characters.index(character), states)
    text = prompt
    for _ in range(length):
        token = int(logits.argmax())
        text += characters[token]
        logits, states = step(token, states)
    print(text)


if __name__ == "__main__":
    main()
