"""Numbers and counts as the user reads them."""


def format_number(value: float) -> str:
    """Return 4 significant digits, or all digits before the point of a number of 1,000 or more."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"


def counted(count: int, noun: str) -> str:
    """Return a number and its noun: ``"1 fold"``, ``"4 folds"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
