"""One web page in one file: text, tables and pictures, nothing to load from anywhere."""

import base64
import html
from collections.abc import Iterable, Sequence

from stages.draw.sheets import Group, Tile


class Html(str):
    """Text that is markup already. All other text is escaped before it gets into a page."""


def text(value: object) -> Html:
    """Return ``value`` as markup: class and file names may hold anything."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def document(title: str, summary: str, facts: str, parts: Iterable[Html]) -> str:
    """Return the whole page: a heading, what matters most under it, facts in small type, and the parts."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{text(title)}</h1><p class="lead">{text(summary)}</p>{note(facts)}</header>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str) -> Html:
    """Return a part of the page; plain strings among ``parts`` become paragraphs."""
    body = "\n".join(part if isinstance(part, Html) else f"<p>{text(part)}</p>" for part in parts)
    return Html(f"<section>\n<h2>{text(heading)}</h2>\n{body}\n</section>")


def folded(heading: str, *parts: Html) -> Html:
    """Return what is shown after a click on its heading."""
    return Html(f"<details><summary>{text(heading)}</summary>\n" + "\n".join(parts) + "\n</details>")


def note(sentence: str) -> Html:
    """Return a paragraph in small type."""
    return Html(f'<p class="note">{text(sentence)}</p>')


def picture(png: bytes, alternative: str, width: int) -> Html:
    """Return a drawing, at most ``width`` pixels wide; on a phone it scrolls sideways rather than become illegible."""
    image = f'<img src="{_data_url(png)}" alt="{text(alternative)}" style="max-width:{width}px">'
    return Html(f'<div class="drawing" tabindex="0">{image}</div>')


def sheet(groups: Sequence[Group], width: int) -> Html:
    """Return contact sheets of pictures at least ``width`` pixels wide, as many in a row as the window has room for."""
    return Html(
        "\n".join(
            f'<h3>{text(group.heading)}</h3>\n<div class="tiles" style="--width:{width}px">\n'
            + "".join(map(_tile, group.tiles))
            + "</div>"
            for group in groups
        )
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], words: Sequence[int] = (0,)) -> Html:
    """Return a table; the columns at the places ``words`` hold words, the others numbers."""
    sides = ["" if place in words else ' class="n"' for place in range(len(columns))]
    head = "".join(f'<th scope="col"{side}>{text(name)}</th>' for side, name in zip(sides, columns, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{side}>{text(cell)}</td>" for side, cell in zip(sides, row, strict=True)) + "</tr>"
        for row in rows
    )
    return Html(f'<div class="table" tabindex="0"><table>\n<tr>{head}</tr>\n{body}\n</table></div>')


def bar(share: float) -> Html:
    """Return a share between 0 and 1 as a percentage over a bar of that length."""
    return Html(f'<span class="bar" style="--share:{100 * share:.1f}%">{100 * share:.1f}</span>')


def chip(word: str, kind: str) -> Html:
    """Return a word with a colored dot; ``kind`` is frozen, thawed or inference."""
    return Html(f'<span class="chip {kind}">{text(word)}</span>')


def _tile(tile: Tile) -> str:
    kind = {True: "right", False: "wrong", None: "plain"}[tile.right]
    seen = f'<img class="seen" src="{_data_url(tile.seen)}" alt="as the network sees it">' if tile.seen else ""
    confidence = f" ·&nbsp;{text(tile.confidence).replace(' ', '&nbsp;')}" if tile.confidence else ""
    second = f"<span>{_breakable(tile.second)}</span>" if tile.second else ""
    mark = tile.mark.replace(" ", "&nbsp;")
    alternative = text(tile.source or tile.title)
    return (
        f'<figure class="{kind}"><div><img src="{_data_url(tile.picture)}" alt="{alternative}">{seen}</div>'
        f"<figcaption><span><b>{mark}{_breakable(tile.title)}</b>{confidence}</span>{second}"
        f"<small>{_breakable(tile.source)}</small></figcaption></figure>\n"
    )


def _breakable(name: str) -> Html:
    """Return a name that may go on in a new line after a slash or an underscore."""
    return Html(text(name).replace("/", "/<wbr>") if "/" in name else text(name).replace("_", "_<wbr>"))


def _data_url(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


_STYLE = """
:root { color-scheme: light dark;
  --page: #fbfaf8; --card: #fff; --ink: #1f2328; --soft: #5c636b; --line: #e2dfd9; --bar: #cfe3f2;
  --head: #0072b2; --tuned: #c4520a; --right: #1b8a3a; --wrong: #c22f2f; --frozen: #56b4e9; --thawed: #e69f00; }
@media (prefers-color-scheme: dark) { :root {
  --page: #16181b; --card: #202327; --ink: #e8e6e3; --soft: #a3a8ae; --line: #363b41; --bar: #234a66;
  --head: #56b4e9; --tuned: #f0965a; --right: #4cc26d; --wrong: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 8px; }
h2 { font-size: 1.3rem; letter-spacing: -.01em; margin: 0 0 12px; }
h3 { font-size: 1rem; margin: 20px 0 8px; }
p { margin: 0 0 12px; max-width: 72ch; text-wrap: pretty; }
.lead { font-size: 1.15rem; color: var(--soft); }
.note, small { color: var(--soft); font-size: .85rem; }
.note { margin-top: 10px; max-width: 92ch; }
section { margin-top: 48px; }
header + section { margin-top: 28px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px;
  max-width: 440px; }
.card h3 { margin: 0; font-weight: 600; color: var(--soft); }
.card strong { display: block; font-size: 2.3rem; line-height: 1.25; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.card strong i { font-style: normal; font-size: 1.2rem; color: var(--soft); }
.scale { position: relative; height: 16px; margin: 14px 0 2px; color: var(--soft); }
.scale::before { content: ""; position: absolute; inset: 7.5px 0; border-top: 1px solid var(--line); }
.scale u { position: absolute; top: 5px; height: 6px; border-radius: 3px; background: currentColor; opacity: .45; }
.scale b { position: absolute; top: 1px; width: 4px; height: 14px; margin-left: -2px; border-radius: 2px;
  background: currentColor; }
.scale s { position: absolute; top: 0; height: 16px; border-left: 1.5px dashed var(--soft); }
.scale.head { color: var(--head); } .scale.tuned { color: var(--tuned); }
.ends { display: flex; justify-content: space-between; color: var(--soft); font-size: .75rem; }
.drawing { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 12px; overflow-x: auto; }
.drawing img { display: block; width: 100%; min-width: 520px; height: auto; margin: 0 auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--width), 1fr)); gap: 16px 12px; }
figure { margin: 0; min-width: 0; text-align: center; line-height: 1.3; }
figure > div { aspect-ratio: 1; display: flex; align-items: flex-end; justify-content: center; gap: 6px; }
figure > div:has(.seen) { aspect-ratio: 4 / 3; }
figure img { min-width: 0; max-width: 100%; max-height: 100%; border-radius: 3px; outline: 1px solid var(--line); }
.right img:first-child, .wrong img:first-child { outline: 3px solid var(--mark); }
figure .seen { flex: 0 0 34%; width: 34%; image-rendering: pixelated; }
.right { --mark: var(--right); } .wrong { --mark: var(--wrong); }
figcaption { padding-top: 7px; font-size: .85rem; overflow-wrap: anywhere; }
figcaption > * { display: block; }
figcaption b { color: var(--mark, inherit); }
figcaption small { font-size: .7rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; min-width: 55%; font-size: .92rem; font-variant-numeric: tabular-nums; }
td small { display: block; }
th, td { padding: 5px 14px 5px 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; font-size: .82rem; overflow-wrap: normal; }
.n { text-align: right; white-space: nowrap; padding-left: 10px; }
.bar { display: inline-block; width: 84px; padding: 0 5px; border-radius: 3px;
  background: linear-gradient(to right, var(--bar) var(--share), transparent var(--share)); }
.chip { white-space: nowrap; }
.chip::before { content: ""; display: inline-block; width: .7em; height: .7em; margin-right: .5em; border-radius: 50%;
  background: var(--soft); }
.frozen::before { background: var(--frozen); border-radius: 2px; } .thawed::before { background: var(--thawed); }
details { margin-top: 14px; }
summary { cursor: pointer; font-weight: 600; margin-bottom: 10px; }
@media print { :root { color-scheme: light; --page: #fff; } body { font-size: 11pt; }
  main { max-width: none; padding: 0; } details::details-content { content-visibility: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr, .card, .drawing { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
