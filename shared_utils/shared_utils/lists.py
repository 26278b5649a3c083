"""Lists as they are typed: words or numbers with commas between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shared_utils import UserError

Number = TypeVar("Number", int, float)


def names(text: str) -> list[str]:
    """``"a, b,,a"`` -> ``["a", "b"]``: each once, in their order."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def numbers(text: str, kind: Callable[[str], Number], option: str) -> tuple[Number, ...]:
    """``"0,1,2"`` -> ``(0, 1, 2)``, each once; UserError with the name of the option where there is none or another thing."""
    try:
        found = tuple(dict.fromkeys(kind(part) for part in names(text)))
    except ValueError:
        found = ()
    if not found:
        whole = "whole numbers" if kind is int else "numbers"
        raise UserError(f"--{option} {text!r}: give {whole} with commas between")
    return found
