"""Shares, differences and intervals, as every table, picture and page shows them."""

from stages.draw.page import Html

MINUS = "\N{MINUS SIGN}"


def format_percent(share: float, decimals: int = 1) -> str:
    """Return a share, 0-1, as a number of percent, without the sign."""
    return f"{100 * share:.{decimals}f}"


def format_points(share: float, decimals: int = 1) -> str:
    """Return a difference of shares in points, with its sign."""
    return format_signed(100 * share, decimals)


def format_signed(number: float, decimals: int) -> str:
    """Return a number with its sign; minus as a true minus sign, which a terminal's text replaces.

    >>> format_signed(0.5, 1), format_signed(-0.25, 2).replace(MINUS, "-")
    ('+0.5', '-0.25')
    """
    return f"{number:+.{decimals}f}".replace("-", MINUS)


def format_confidence(share: float) -> str:
    """Return a confidence as a percentage, never rounded up to certainty."""
    return "> 99 %" if share > 0.995 else f"{100 * share:.0f} %"


def name_interval(confidence: float) -> str:
    """Return what to call an interval.

    >>> name_interval(0.95)
    '95 % interval'
    """
    return f"{100 * confidence:.4g} % interval"


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
