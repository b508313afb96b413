"""`charrnn-sample`: write text from a trained model, where there is no torch.

numpy and onnxruntime are imported only after the command line is understood: `--help` and mistakes answer at once.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from charrnn import __version__
from charrnn.cli.common import exit_status
from charrnn.errors import CharRNNError, ConfigError, CorpusError, VocabularyError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from charrnn.runtime import OnnxModel

COMMAND = "charrnn-sample"
_DESCRIPTION = """\
Write text from a trained model. The text, and nothing else, goes to standard output as UTF-8:
the prompt as the model reads it, its continuation, and one newline."""
_EPILOG = """\
examples:
  charrnn-sample runs/python-stdlib --prompt "def " --length 500
  charrnn-sample model.onnx --prompt-file - --temperature 0.5 --seed 7 < start.txt
  charrnn-sample model.onnx --prompt "the " --top-k 10 --num-samples 3"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    return exit_status(COMMAND, lambda: _run(argv))


def _run(argv: list[str] | None) -> None:
    options = _parse(argv)
    if sys.stdout is None:
        raise ConfigError("standard output is closed: leave it open, or send it to a file")

    from charrnn.runtime import OnnxModel, Sampler, SamplingConfig, fresh_seed, stream_ids

    config = SamplingConfig(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
    seed = fresh_seed() if options.seed is None else options.seed
    sampler = Sampler(config, seed, options.num_samples)
    model = OnnxModel.load(options.model)
    prompt_ids = _encode_prompt(model, _read_prompt(options), options.skip_unknown)
    steps = stream_ids(model, prompt_ids, length=options.length, sampler=sampler)
    if options.seed is None and config.temperature > 0:
        _say(f"seed {seed} (--seed {seed} writes this text again)")
    try:
        _write(model, prompt_ids, steps, options.num_samples)
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails as well
        raise CharRNNError(
            f"the text cannot be written ({error.strerror}): free space there, or write elsewhere"
        ) from error


# The command line


class _Parser(argparse.ArgumentParser):
    """Mistakes become ConfigErrors, which are one line, instead of a usage message of many."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} ({COMMAND} --help explains each flag)")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog=COMMAND,
        usage="%(prog)s MODEL [--prompt TEXT] [--length N] [--temperature T] [...]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="a model.onnx, or a run directory that has one")
    parser.add_argument("--version", action="version", version=f"charrnn {__version__}")
    _add_text_flags(parser)
    _add_choice_flags(parser)
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        raise ConfigError(_unknown_message(unknown, list(parser._option_string_actions)))
    return options


def _add_text_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the text")
    prompt = group.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt",
        metavar="TEXT",
        default="",
        help="text to continue (one that begins with a dash: --prompt=-TEXT); "
        "without it the model starts as after a line's end",
    )
    prompt.add_argument(
        "--prompt-file",
        metavar="FILE",
        help="read the prompt from a UTF-8 file, exactly, its last newline included; - is standard input",
    )
    group.add_argument("--length", metavar="N", type=_whole, default=200, help="characters to write (default: 200)")
    group.add_argument(
        "--num-samples",
        metavar="N",
        type=_whole,
        default=1,
        help="continuations to write, with an empty line between two (default: 1)",
    )
    group.add_argument(
        "--skip-unknown",
        action="store_true",
        help="leave out characters of the prompt that the model has never seen, instead of refusing them",
    )


def _add_choice_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the choice of each character")
    group.add_argument(
        "--temperature",
        metavar="T",
        type=_number,
        default=1.0,
        help="below 1 safer, above 1 wilder, 0 always the likeliest (default: 1)",
    )
    group.add_argument(
        "--top-k", metavar="K", type=_whole, default=0, help="choose among the K likeliest only (default: 0, off)"
    )
    group.add_argument(
        "--top-p",
        metavar="P",
        type=_number,
        default=1.0,
        help="choose among the fewest likeliest whose probabilities reach P (default: 1, off)",
    )
    group.add_argument(
        "--seed",
        metavar="N",
        type=_whole,
        help="the same seed writes the same text (default: a new one, told on standard error)",
    )


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def _unknown_message(unknown: list[str], known: list[str]) -> str:
    import difflib

    flag = next((argument for argument in unknown if argument.startswith("-")), None)
    if flag is None:
        return f"unexpected argument {unknown[0]!r}: give one MODEL, and the prompt as --prompt TEXT, in quotes"
    name = flag.split("=")[0]
    nearest = [each for each in known if each.startswith(name)] or difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"{COMMAND} --help lists the flags"
    return f"unknown flag {flag!r}: {hint}"


# The prompt


def _read_prompt(options: argparse.Namespace) -> str:
    if options.prompt_file is None:
        # Bytes of the command line that are not UTF-8 arrive as lone surrogates.
        return _decode(options.prompt.encode("utf-8", "surrogateescape"), "--prompt")
    if options.prompt_file == "-":
        if sys.stdin is None:
            raise ConfigError("--prompt-file - reads standard input, which is closed: send the prompt there")
        return _decode(sys.stdin.buffer.read(), "standard input")
    try:
        data = Path(options.prompt_file).read_bytes()
    except OSError as error:
        raise CorpusError(
            f"prompt file {options.prompt_file} cannot be read ({error.strerror}): name a UTF-8 text file, or -"
        ) from error
    return _decode(data, f"prompt file {options.prompt_file}")


def _decode(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{source} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}; "
            "convert it, for example with `iconv -t UTF-8`"
        ) from error


def _encode_prompt(model: "OnnxModel", prompt: str, skip_unknown: bool) -> "npt.NDArray[Any]":
    from charrnn.runtime import encode_prompt

    try:
        ids = encode_prompt(model, prompt, skip_unknown=skip_unknown)
    except VocabularyError as error:
        raise VocabularyError(f"prompt: {error} (--skip-unknown)") from error
    if skip_unknown:
        unknown = sorted(set(model.normaliser(prompt)) - set(model.vocabulary.characters))
        if unknown:
            _say(f"left out of the prompt: {', '.join(map(repr, unknown))}")
    return ids


# The output


def _write(
    model: "OnnxModel", prompt_ids: "npt.NDArray[Any]", steps: "Iterator[npt.NDArray[np.int64]]", num_samples: int
) -> None:
    """Write the first text as it is made, and the others, which are made in the same batch, after it."""
    write = _open_stdout()
    characters = model.vocabulary.characters
    echo = model.vocabulary.decode(prompt_ids)
    others: list[list[str]] = [[] for _ in range(num_samples - 1)]
    write(echo)
    try:
        for ids in steps:
            first, *rest = ids.tolist()
            write(characters[first])
            for text, character_id in zip(others, rest, strict=True):
                text.append(characters[character_id])
    finally:  # an interrupted text ends like a whole one
        for text in others:
            write(f"\n\n{echo}{''.join(text)}")
        write("\n")
        sys.stdout.flush()


def _open_stdout() -> Callable[[str], object]:
    """What writes to standard output: UTF-8 and bare newlines in every locale, at once where somebody watches."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="\n")
    if not sys.stdout.isatty():
        return sys.stdout.write

    def write_now(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    return write_now


def _say(message: str) -> None:
    print(f"{COMMAND}: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
