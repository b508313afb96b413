"""A coloured text as one HTML page, without scripts and other files. It is escaped: no browser takes it for HTML."""

from html import escape

from charrnn.pages.coloured_text import ColouredCharacter, ColouredText, Passage, Picture, symbol
from charrnn.pages.scale import INK, Scale

__all__ = ["HtmlPage"]

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
h2 {{ font-size: 1rem; margin: 2rem 0 0; }}
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
<div class="legend">{name} <span>{legend}</span> {key}</div>
<p class="note">{note}</p>
{passages}
</body>
</html>
"""


class HtmlPage(Picture):
    """A page; what is told of a character shows when the mouse rests on it."""

    max_chars = 100_000  # 7 MB of HTML, which a browser opens in a second or two

    def render(self, text: ColouredText) -> bytes:
        """See `Picture`."""
        scale = text.scale
        page = _PAGE.format(
            title=escape(text.title),
            ink=INK,
            classes="\n".join(f".c{n} {{ background: {colour}; }}" for n, colour in enumerate(scale.colours)),
            facts=escape(text.facts),
            name=escape(scale.name),
            legend="".join(f'<b class="c{n}">{escape(label)}</b>' for n, label in enumerate(scale.labels)),
            key=escape(scale.key),
            note=("" if text.is_whole else f"The first {text.shown:,} characters. ")
            + f"Rest the mouse on a character for {escape(scale.hint)}.",
            passages="\n".join(_section(each, scale) for each in text.passages),
        )
        return page.encode("utf-8", "replace")


def _section(passage: Passage, scale: Scale) -> str:
    heading = f"<h2>{escape(passage.heading)}</h2>\n" if passage.heading else ""
    return f'{heading}<div class="text">{"".join(_marked(each, scale) for each in passage.characters)}</div>'


def _marked(shown: ColouredCharacter, scale: Scale) -> str:
    """The character in its colour; what it would do to a page shows as a symbol, and a line's end ends a line too."""
    sign = symbol(shown.character)
    body = escape(sign) if sign == shown.character else f"<i>{escape(sign)}</i>"
    after = "\n" if shown.character == "\n" else ""
    if shown.value is None:
        return body + after
    told = scale.told(shown.value) + (f"; {shown.note}" if shown.note else "")
    return f'<b class="c{scale.index(shown.value)}" title="{escape(told)}">{body}</b>{after}'
