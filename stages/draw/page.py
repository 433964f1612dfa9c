"""A self-contained web page: text, tables and pictures in one file. Functions are named for the elements they make."""

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from stages.draw.sheets import Group, Tile


class Html(str):
    """Markup. All other text is escaped before it gets into a page."""


def escape(value: object) -> Html:
    """Return a value as markup.

    >>> escape("cats & dogs")
    'cats &amp; dogs'

    Args:
        value: markup, or anything else, which is escaped: class and file names may hold any character.
    """
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def document(title: str, summary: str, facts: str, parts: Iterable[Html]) -> str:
    """Return the whole page.

    Args:
        title: its heading.
        summary: what matters most, under the heading.
        facts: in small type.
        parts: the rest, in order.
    """
    template, style = (
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("report.html", "report.css")
    )
    return Template(template).substitute(
        style=style, title=escape(title), summary=escape(summary), facts=note(facts), parts="\n".join(parts)
    )


def section(heading: str, *parts: str) -> Html:
    """Return a section of the page.

    Args:
        heading: its title.
        parts: markup, or plain strings, which become paragraphs.
    """
    body = "\n".join(part if isinstance(part, Html) else f"<p>{escape(part)}</p>" for part in parts)
    return Html(f"<section>\n<h2>{escape(heading)}</h2>\n{body}\n</section>")


def folded(heading: str, *parts: Html) -> Html:
    """Return content that is hidden until its heading is clicked.

    Args:
        heading: to click.
        parts: the content.
    """
    return Html(f"<details><summary>{escape(heading)}</summary>\n" + "\n".join(parts) + "\n</details>")


def note(sentence: str) -> Html:
    """Return a paragraph in small type."""
    return Html(f'<p class="note">{escape(sentence)}</p>')


def facts(rows: Iterable[tuple[str, str]]) -> Html:
    """Return a list of names and what they stand for, each a text or markup."""
    return Html(
        "<dl>\n" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>\n" for name, fact in rows) + "</dl>"
    )


def bullets(sentences: Iterable[str]) -> Html:
    """Return a list of sentences."""
    items = "".join(f"<li>{escape(sentence[:1].upper() + sentence[1:])}</li>\n" for sentence in sentences)
    return Html(f"<ul>\n{items}</ul>")


def picture(png: bytes, alternative: str, width: int, least: int = 0) -> Html:
    """Return a picture, which scrolls sideways on a phone where it would become illegible.

    Args:
        png: a PNG file.
        alternative: text for those who cannot see it.
        width: at most, in pixels.
        least: width at which it is still legible.
    """
    style = f"max-width:{width}px;min-width:{least}px"
    image = f'<img src="{_data_url(png)}" alt="{escape(alternative)}" style="{style}">'
    return Html(f'<div class="drawing" tabindex="0">{image}</div>')


def sheet(groups: Sequence[Group], width: int) -> Html:
    """Return contact sheets with as many pictures in a row as the window has room for.

    Args:
        groups: one for each sheet.
        width: of a picture, at least, in pixels.
    """

    def render(group: Group) -> str:
        heading = f"<h3>{escape(group.heading)}</h3>\n" if group.heading else ""
        return f'{heading}<div class="tiles" style="--width:{width}px">\n' + "".join(map(_tile, group.tiles)) + "</div>"

    return Html("\n".join(map(render, groups)))


def strips(rows: Sequence[Sequence[Tile]]) -> Html:
    """Return pictures that belong together, up to three, side by side; as many such rows as the window has room for.

    Args:
        rows: of pictures.
    """
    strip = '<div class="strip">\n{}</div>\n'
    return Html('<div class="strips">\n' + "".join(strip.format("".join(map(_tile, row))) for row in rows) + "</div>")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], words: Sequence[int] = (0,)) -> Html:
    """Return a table.

    Args:
        columns: their titles.
        rows: of cells.
        words: places of the columns that hold words; the others hold numbers.
    """
    sides = ["" if place in words else ' class="n"' for place in range(len(columns))]
    head = "".join(f'<th scope="col"{side}>{escape(name)}</th>' for side, name in zip(sides, columns, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{side}>{escape(cell)}</td>" for side, cell in zip(sides, row, strict=True)) + "</tr>"
        for row in rows
    )
    return Html(f'<div class="table" tabindex="0"><table>\n<tr>{head}</tr>\n{body}\n</table></div>')


def bar(share: float) -> Html:
    """Return a share, 0 to 1, as a percentage on a bar of that length."""
    return Html(f'<span class="bar" style="--share:{100 * share:.1f}%">{100 * share:.1f}</span>')


def render_interval(
    value: float, ends: tuple[float, float], scale: tuple[float, float], kind: str, more: str = "", zero: bool = False
) -> Html:
    """Return an interval as a bar, with a mark at its value.

    Args:
        value: the estimate.
        ends: of its interval.
        scale: the numbers at the ends of the axis.
        kind: class of the bar in the style sheet, which colors it.
        more: attributes of the bar.
        zero: whether to mark 0.
    """

    def place(number: float) -> str:
        return f"{100 * (number - scale[0]) / (scale[1] - scale[0]):.2f}%"

    mark = f'<s style="left:{place(0)}"></s>' if zero else ""
    return Html(
        f'<div class="scale {kind}"{more}>{mark}<u style="left:{place(ends[0])};right:calc(100% - {place(ends[1])})">'
        f'</u><b style="left:{place(value)}"></b></div>'
    )


def chip(word: str, kind: str) -> Html:
    """Return a word with a colored dot.

    Args:
        word: to show.
        kind: frozen, thawed or inference.
    """
    return Html(f'<span class="chip {kind}">{escape(word)}</span>')


def _tile(tile: Tile) -> str:
    kind = {True: "right", False: "wrong", None: "plain"}[tile.right]
    seen = f'<img class="seen" src="{_data_url(tile.seen)}" alt="{escape(tile.seen_as)}">' if tile.seen else ""
    confidence = f" ·&nbsp;{escape(tile.confidence).replace(' ', '&nbsp;')}" if tile.confidence else ""
    second = f"<span>{_breakable(tile.second)}</span>" if tile.second else ""
    source = f'<code class="row">{escape(tile.row)}</code>' if tile.row else f"<small>{_breakable(tile.source)}</small>"
    mark = tile.mark.replace(" ", "&nbsp;")
    alternative = escape(tile.source or tile.title)
    return (
        f'<figure class="{kind}"><div><img src="{_data_url(tile.picture)}" alt="{alternative}">{seen}</div>'
        f"<figcaption><span><b>{mark}{_breakable(tile.title)}</b>{confidence}</span>{second}"
        f"{source}</figcaption></figure>\n"
    )


def _breakable(name: str) -> Html:
    """Return a name that may break after a slash or an underscore."""
    return Html(escape(name).replace("/", "/<wbr>") if "/" in name else escape(name).replace("_", "_<wbr>"))


def _data_url(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"
