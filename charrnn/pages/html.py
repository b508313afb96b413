"""The heatmap as one HTML page, without scripts and other files. The text is escaped: no browser takes it for HTML."""

from html import escape

from charrnn.pages.coloured_text import COLOURS, INK, Heatmap, ScoredCharacter, colour_of, symbol
from charrnn.scores import Scores

__all__ = ["HtmlHeatmap"]

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ margin: 2rem auto; max-width: 62rem; padding: 0 1.5rem; background: #fff; color: {ink};
  font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.15rem; margin: 0; overflow-wrap: anywhere; }}
.facts, .note {{ margin: .4rem 0 1rem; color: #555b66; }}
.legend {{ position: sticky; top: 0; display: flex; align-items: center; gap: .7rem; padding: .6rem 0; background: #fff;
  border-bottom: 1px solid #e3e5e9; font-size: 13px; }}
.legend span {{ display: flex; }}
.legend b {{ font-weight: 400; min-width: 2.5rem; text-align: center; padding: .15rem 0; }}
.text {{ font: 15px/1.75 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; tab-size: 4; margin: 1rem 0 3rem; }}
.text b {{ font-weight: 400; padding: .12em 0; border-radius: 2px; }}
.text b:hover {{ outline: 2px solid {ink}; }}
.text i {{ font-style: normal; opacity: .6; }}
{classes}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="facts">{facts}</p>
<div class="legend">surprise in bits <span>{legend}</span> 0: it was certain · 1: a chance of 1 in 2 · 8: 1 in 256</div>
<p class="note">{note}</p>
<div class="text">{text}</div>
</body>
</html>
"""


class HtmlHeatmap(Heatmap):
    """A page; the exact surprise and the model's guess show when the mouse rests on a character."""

    max_chars = 100_000  # 7 MB of HTML, which a browser opens in a second or two

    def render(self, title: str, scores: Scores) -> bytes:
        """See `Heatmap`."""
        last = len(COLOURS) - 1
        page = _PAGE.format(
            title=escape(title),
            ink=INK,
            classes="\n".join(f".c{n} {{ background: {colour}; }}" for n, colour in enumerate(COLOURS)),
            facts=f"{scores.characters:,} characters scored · loss {scores.loss_nats:.4f} nats · "
            f"{scores.bpc:.4f} bpc · perplexity {scores.perplexity:.4g} · accuracy {scores.accuracy:.2%}",
            legend="".join(f'<b class="c{n}">{n}{"+" if n == last else ""}</b>' for n in range(last + 1)),
            note=self._note(scores),
            text="".join(map(_marked, self.shown)),
        )
        return page.encode("utf-8", "replace")

    def _note(self, scores: Scores) -> str:
        whole = len(self.shown) == scores.characters + 1
        return (
            "" if whole else f"The first {len(self.shown):,} characters. "
        ) + "Rest the mouse on a character for its surprise, and what the model expected."


def _marked(shown: ScoredCharacter) -> str:
    """The character in its colour; what it would do to a page shows as a symbol, and a line's end ends a line too."""
    sign = symbol(shown.character)
    body = escape(sign) if sign == shown.character else f"<i>{escape(sign)}</i>"
    after = "\n" if shown.character == "\n" else ""
    if shown.bits is None:
        return body + after
    # Of an infinite surprise the probability is 0, which 2.0 ** -inf is.
    told = f"{shown.bits:.2f} bits, probability {2.0**-shown.bits:.2g}; expected {symbol(shown.guess)!r}"
    return f'<b class="c{colour_of(shown.bits)}" title="{escape(told)}">{body}</b>{after}'
