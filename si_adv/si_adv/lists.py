"""Lists that are typed with commas between."""

from __future__ import annotations

from shared_utils import UserError


def names(text: str) -> list[str]:
    """``"a, b"`` -> ``["a", "b"]``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def seeds(text: str) -> list[int]:
    """``"0,1,2"`` -> ``[0, 1, 2]``; UserError for what is not whole numbers, and for none."""
    try:
        numbers = [int(part) for part in names(text)]
    except ValueError:
        numbers = []
    if not numbers:
        raise UserError(f"seeds are whole numbers with commas between, got {text}: for example 0,1,2")
    return list(dict.fromkeys(numbers))
