"""Lists as they are typed: words or numbers with commas between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shared_utils import UserError

Number = TypeVar("Number", int, float)


def names(text: str) -> tuple[str, ...]:
    """Words, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def numbers(text: str, kind: Callable[[str], Number], what: str) -> tuple[Number, ...]:
    """Numbers, each once. Raises UserError where one is none."""
    try:
        return tuple(dict.fromkeys(kind(word) for word in names(text)))
    except ValueError:
        raise UserError(f"--{what} {text!r}: give numbers with commas between") from None
