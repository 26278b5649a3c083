"""Scores compared with those of the user's own genuine videos: what is unusual among them, without a claim of probability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared_utils import UserError

FEWEST = 5
"""Fewer genuine videos say nothing about what is unusual."""


@dataclass(frozen=True)
class Genuine:
    """The scores of genuine videos, by the place of their file (absolute, as text)."""

    scores: Mapping[str, float]

    def __post_init__(self) -> None:
        if len(self.scores) < FEWEST:
            raise UserError(
                f"--genuine has {len(self.scores)} videos with a score: give a folder of {FEWEST} or more genuine videos"
            )

    def rank(self, score: float, place: str = "") -> float:
        """The share of genuine videos that score as high or higher, the video itself counted once: never 0.

        Args:
            score: of a video.
            place: of its file, which is left out where it is one of the genuine ones.
        """
        others = [other for own, other in self.scores.items() if own != place]
        return (1 + sum(other >= score for other in others)) / (1 + len(others))

    def words(self, rank: float) -> str:
        """What a rank means."""
        count = len(self.scores)
        if rank <= 1 / count + 1e-9:
            if count < 19:
                return (
                    f"above all your genuine videos, of which there are only {count}: suspicious, by 1 in {count + 1}"
                )
            return f"above all {count} genuine videos of yours: suspicious"
        if rank <= 0.05:
            return f"above {1 - rank:.0%} of your {count} genuine videos: suspicious"
        return f"{rank:.0%} of your {count} genuine videos score as high: not unusual"
