"""`charrnn-sample`: write text from a trained model, where there is no torch.

numpy and onnxruntime are imported only after the command line is understood: `--help` and mistakes answer at once.
"""

import codecs
import sys
from typing import TYPE_CHECKING

from charrnn.cli.common import exit_status
from charrnn.console import importing, told_bytes
from charrnn.errors import ConfigError
from charrnn.writing.output import COMMAND, say

if TYPE_CHECKING:
    from charrnn.runtime import OnnxModel
    from charrnn.writing.options import Options

_SHOWN_CHARS = 256


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return exit_status(COMMAND, lambda: _run(argv))


def _run(argv: list[str] | None) -> None:
    with importing(COMMAND):
        from charrnn.cli.sample_flags import parse
    options = parse(argv)
    if sys.stdout is None:
        raise ConfigError("standard output is closed: leave it open, or send it to a file")
    with importing(COMMAND):
        if options.interactive:
            from charrnn.autocomplete.editor import autocomplete as use
        elif options.score is not None:
            from charrnn.writing.score_report import write_scores as use
        else:
            from charrnn.writing.texts import write_texts as use
        # What Python itself imports on its first use, which would be later.
        codecs.lookup("utf-32-le")
    use(options, _load)


def _load(options: "Options") -> "OnnxModel":
    from charrnn.runtime import OnnxModel

    model = OnnxModel.load(options.model)
    if options.verbose:
        _describe(model)
    return model


def _describe(model: "OnnxModel") -> None:
    say(f"model {model.path}: {told_bytes(model.path.stat().st_size)}, {_listed(model.config)}")
    characters = model.vocabulary.characters
    rest = " and more" if len(characters) > _SHOWN_CHARS else ""
    say(f"vocabulary of {len(characters):,} characters: {characters[:_SHOWN_CHARS]!r}{rest}")
    steps = ", ".join(step["step"] for step in model.normaliser.to_list())
    say(f"normaliser: {steps or 'none, text is read as it is'}")
    say(f"training: {_listed(model.training) or 'the file says nothing of it'}")


def _listed(facts: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


if __name__ == "__main__":
    sys.exit(main())
