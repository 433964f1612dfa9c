"""Text in Markdown, for GitHub and for model cards."""

from stages.base.table import make_printable


def escape_markdown(text: str) -> str:
    r"""Return a text that Markdown shows as it is; file and class names may hold any character.

    >>> print(escape_markdown("a|b_c <i>"))
    a\|b\_c \<i\>
    """
    return "".join(f"\\{char}" if char in r"\`*_[]<>|#~&" else char for char in make_printable(text))
