"""Shares, differences and intervals, as every table, picture and page shows them."""

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
