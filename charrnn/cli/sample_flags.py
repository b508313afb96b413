"""The flags of charrnn-sample: what they are called, what they mean, which of them do not go together."""

import argparse
from dataclasses import fields
from typing import NoReturn

from charrnn import __version__
from charrnn.errors import ConfigError
from charrnn.sampling_config import SamplingConfig
from charrnn.writing.options import Options
from charrnn.writing.output import COMMAND

__all__ = ["parse"]

_DESCRIPTION = """\
Write text from a trained model. The text, and nothing else, goes to standard output as UTF-8:
the prompt as the model reads it, its continuation, and one newline."""
_EPILOG = """\
examples:
  charrnn-sample runs/python-stdlib --prompt "def " --length 500
  charrnn-sample model.onnx --prompt-file - --temperature 0.5 --seed 7 < start.txt
  charrnn-sample model.onnx --prompt "the " --temperatures 0.2,0.5,1.0
  charrnn-sample model.onnx --endless | head -100
  charrnn-sample model.onnx --interactive
  charrnn-sample hf://OWNER/NAME --length 500
  charrnn-sample model.onnx --score novel.txt --heatmap novel.html
  charrnn-sample model.onnx --score novel.txt --units --heatmap units.html"""


_SAMPLING = {field.name for field in fields(SamplingConfig)}
_NAMES = {field.name for field in fields(Options)} - {"sampling"} | _SAMPLING
_NOT_WITH: dict[str, set[str]] = {
    "prompt": {"prompt_file"},
    "temperature": {"temperatures"},
    "endless": {"length", "num_samples", "temperatures", "json"},  # those hold texts in memory until they are whole
    "quiet": {"verbose"},
    "units": {"unit"},
    "score": _NAMES - {"model", "score", "heatmap", "units", "unit", "skip_unknown", "json", "quiet", "verbose"},
    "interactive": _NAMES - {"model", "interactive", "prompt", "prompt_file", "skip_unknown", "quiet", "verbose"},
}
_OF_A_SCORE = {
    "heatmap": "shows the text of a score in colours",
    "units": "looks for units in the text of a score",
    "unit": "looks at a unit in the text of a score",
}


def parse(arguments: list[str] | None) -> Options:
    """The options that `arguments` (None: those of this process) spell.

    Raises ConfigError; `--help` and `--version` print and exit.
    """
    parser = _parser()
    namespace, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise ConfigError(_unknown_message(unknown, list(parser._option_string_actions)))
    given = vars(namespace)
    for action in parser._actions:
        if given.get(action.dest) == []:  # argparse takes the value out of `--prompt=--`, up to Python 3.12
            if action.type is not None:
                parser.error(f"argument {_spelled(action.dest)}: '--' is not a number")
            given[action.dest] = "--"
    for flag, others in _NOT_WITH.items():
        for other in others & given.keys() if flag in given else ():
            raise ConfigError(f"{_spelled(flag)} does not go with {_spelled(other)}: leave one of them out")
    for flag in ("heatmap", "units", "unit"):
        if flag in given and "score" not in given:
            raise ConfigError(f"--{flag} {_OF_A_SCORE[flag]}: name the text as well, with --score FILE")
    sampling = SamplingConfig(**{name: given.pop(name) for name in _SAMPLING & given.keys()})
    return Options(sampling=sampling, **given)


def _spelled(name: str) -> str:
    return "--" + name.replace("_", "-")


class _Parser(argparse.ArgumentParser):
    """Mistakes become ConfigErrors, which are one line, instead of a usage message of many."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} ({COMMAND} --help explains each flag)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=COMMAND,
        usage="%(prog)s MODEL [--prompt TEXT] [--length N] [--temperature T] [...]\n"
        "       %(prog)s MODEL --interactive\n"
        "       %(prog)s MODEL --score FILE [--units | --unit L:N] [--heatmap OUT.html]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,  # what is given can then be told from what is not
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a model.onnx, a run directory that has one, or hf://OWNER/NAME[@REVISION] of the Hub",
    )
    parser.add_argument("--version", action="version", version=f"charrnn {__version__}")
    _add_text_flags(parser.add_argument_group("the text"))
    _add_choice_flags(parser.add_argument_group("the choice of each character"))
    _add_other_uses(parser.add_argument_group("other uses of a model"))
    _add_report_flags(parser.add_argument_group("what is told"))
    return parser


_Group = argparse._ArgumentGroup


def _add_text_flags(group: _Group) -> None:
    group.add_argument(
        "--prompt",
        metavar="TEXT",
        help="text to continue (one that begins with a dash: --prompt=-TEXT); "
        "without it the model starts as after a line's end",
    )
    group.add_argument(
        "--prompt-file",
        metavar="FILE",
        help="read the prompt from a UTF-8 file, exactly, its last newline included; - is standard input",
    )
    group.add_argument(
        "--skip-unknown",
        action="store_true",
        help="leave out characters that the model has never seen, instead of refusing them",
    )
    group.add_argument("--length", metavar="N", type=_whole, help="characters to write (default: 200)")
    group.add_argument("--endless", action="store_true", help="write until interrupted (Ctrl-C) or stopped by --stop")
    group.add_argument("--stop", metavar="TEXT", help="end a continuation once it has written TEXT")
    group.add_argument(
        "--num-samples",
        metavar="N",
        type=_whole,
        help="continuations to write, made in one batch, with an empty line between two (default: 1)",
    )


def _add_choice_flags(group: _Group) -> None:
    group.add_argument(
        "--temperature",
        metavar="T",
        type=_number,
        help="below 1 safer, above 1 wilder, 0 always the likeliest (default: 1)",
    )
    group.add_argument(
        "--temperatures",
        metavar="T,T,...",
        type=_numbers,
        help="write the text once for each temperature: side by side in a terminal, else one under the other",
    )
    group.add_argument("--top-k", metavar="K", type=_whole, help="choose among the K likeliest only (default: 0, off)")
    group.add_argument(
        "--top-p",
        metavar="P",
        type=_number,
        help="choose among the fewest likeliest whose probabilities reach P (default: 1, off)",
    )
    group.add_argument(
        "--seed",
        metavar="N",
        type=_whole,
        help="the same seed writes the same text (default: a new one, told on standard error)",
    )


def _add_other_uses(group: _Group) -> None:
    group.add_argument(
        "--interactive",
        action="store_true",
        help="autocomplete: type in the terminal and see the likeliest continuations; Tab takes one",
    )
    group.add_argument(
        "--score",
        metavar="FILE",
        help="how well the model predicts a UTF-8 text (- is standard input): loss, bpc, perplexity, accuracy",
    )
    group.add_argument(
        "--heatmap",
        metavar="OUT",
        help="with --score, show the text coloured by its surprise, or by the activity of units: "
        "OUT is .html, or .png (needs matplotlib)",
    )
    group.add_argument(
        "--units",
        action="store_true",
        help="with --score, find the units that a simple property of the text explains best, such as being in quotes",
    )
    group.add_argument(
        "--unit",
        metavar="L:N,...",
        help="with --score, what explains unit N of layer L, both from 0, such as 0:217; also of several units",
    )


def _add_report_flags(group: _Group) -> None:
    group.add_argument(
        "--json", action="store_true", help="one JSON object a line for each text, with seed, settings and speed"
    )
    group.add_argument("--quiet", action="store_true", help="nothing but errors on standard error")
    group.add_argument("--verbose", action="store_true", help="model, vocabulary, training and speed on standard error")


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


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.2,0.5,1.0") from None


def _unknown_message(unknown: list[str], known: list[str]) -> str:
    import difflib

    flag = next((argument for argument in unknown if argument.startswith("-")), None)
    if flag is None:
        return f"unexpected argument {unknown[0]!r}: give one MODEL, and the prompt as --prompt TEXT, in quotes"
    name = flag.split("=")[0]
    nearest = [each for each in known if each.startswith(name)] or difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"{COMMAND} --help lists the flags"
    return f"unknown flag {flag!r}: {hint}"
