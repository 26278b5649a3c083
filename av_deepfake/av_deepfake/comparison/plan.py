"""What is compared: pre-trainings, ways to train a detector, the tries of the rate, and the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from av_deepfake.comparison.training import Pretraining, Tuning
from av_deepfake.objective import Unfreeze
from av_deepfake.procedural import METHODS
from shared_utils import UserError

LEFT_OUT = tuple(METHODS)
CHANGES = ("clean", "compressed")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""The tries, the same for every way to train."""
STRENGTHS = (0.01, 0.1, 1.0)
"""The tries of the hand-made statistics: of the inverse penalty of their regression."""

Beginning = Literal["random", "pretrained", "noisy", "shuffled"]


class Begun(NamedTuple):
    """A pre-training. ``nuisance``: of its recordings; ``shuffled``: everybody has the sound of another; ``side``: only for the
    side seeds."""

    nuisance: str = "moderate"
    shuffled: bool = False
    side: bool = False


PRETRAININGS: dict[str, Begun] = {
    "pretrained": Begun(),
    "noisy": Begun("hard", side=True),
    "shuffled": Begun(shuffled=True),
}


class Row(NamedTuple):
    """A line of the table.

    Args:
        title: in words.
        begin: whose weights the front-end begins with.
        unfreeze: what is trained besides the head.
        kind: which rate it takes, by the name of its tries.
        longer: factor of the steps.
        single: every frame of a clip is its middle one, in training too.
        side: run last, for the side seeds (what is dear).
        left_out: methods that are left out, one at a time.
    """

    title: str
    begin: Beginning
    unfreeze: Unfreeze
    kind: str
    longer: int = 1
    single: bool = False
    side: bool = False
    left_out: tuple[str, ...] = LEFT_OUT


ROWS: dict[str, Row] = {
    "pretrained": Row("pre-trained, front-end frozen", "pretrained", "encoder", "frozen"),
    "random": Row("random front-end, frozen", "random", "encoder", "random"),
    "scratch": Row("from scratch", "random", "all", "scratch"),
    "gentle": Row("pre-trained, everything tuned", "pretrained", "all", "gentle"),
    "single": Row("a single frame, pre-trained, frozen", "pretrained", "encoder", "frozen", single=True),
    "noisy": Row("pre-trained on hard clips, frozen", "noisy", "encoder", "frozen", side=True),
    "shuffled": Row("pre-trained on others' sound, frozen", "shuffled", "encoder", "frozen", side=True),
    "long": Row("from scratch, ten times the steps", "random", "all", "scratch", 10, side=True, left_out=("B", "C")),
}
SHUFFLED_FRAMES = "frames"
"""Row that needs no training: the detector of ``pretrained``, its test clips in a random order of frames."""
STATISTICS = "statistics"
"""Row of hand-made statistics of motion."""
TITLES = {
    **{name: row.title for name, row in ROWS.items()},
    SHUFFLED_FRAMES: "frames shuffled at test, pre-trained, frozen",
    STATISTICS: "hand-made statistics of motion, regression",
}
KINDS = {"frozen": "pretrained", "random": "random", "scratch": "scratch", "gentle": "gentle"}
"""Tries by name, and the row that is tried."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Args:
        seeds: of mouths, weights and order; the recipe was chosen on seed 0, so it is not among them.
        side_seeds: those of them that the dear rows are run for, after the rows of all seeds and one after the other.
        tuning: seed on whose validation clips the rate is chosen; not one of the seeds.
        rates: the tries.
        speakers: of a pre-training.
        per_speaker: recordings of each.
        train: clips of a class that a detector is trained on, half of them compressed.
        test: clips of a class that it is tested on, both clean and compressed.
        galleries: clips of the easy and of the hard retrieval set.
        timed: recordings whose offset is estimated.
        pretraining: how branches are pre-trained.
        tuning_of: how detectors are trained, besides the rate.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    side_seeds: tuple[int, ...] = (1, 2, 3)
    tuning: int = 100
    rates: tuple[float, ...] = RATES
    speakers: int = 100
    per_speaker: int = 5
    train: int = 90
    test: int = 60
    galleries: tuple[int, int] = (128, 256)
    timed: int = 48
    pretraining: Pretraining = field(default_factory=Pretraining)
    tuning_of: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        if not self.seeds or self.tuning in self.seeds:
            raise UserError(
                f"the tuning seed {self.tuning} must not be one of the seeds {self.seeds} that are reported"
            )
        if not set(self.side_seeds) <= set(self.seeds):
            raise UserError(f"the side seeds {self.side_seeds} are some of the seeds {self.seeds}")
        if not self.rates:
            raise UserError("no rate to try: give one or more")

    def description(self) -> dict[str, Any]:
        """Plain values for ``shared_utils.work``."""
        return asdict(self)

    def seeds_of(self, row: str) -> tuple[int, ...]:
        """Seeds that a row is run for."""
        return self.side_seeds if row in ROWS and ROWS[row].side else self.seeds

    def pretrained_for(self, name: str) -> tuple[int, ...]:
        """Seeds that a pre-training is run for."""
        return self.side_seeds if PRETRAININGS[name].side else self.seeds


def mean_and_range(values: Sequence[float], form: str = ".3f") -> str:
    """ "0.652 (0.60-0.73)"; a single value alone."""
    mean = f"{sum(values) / len(values):{form}}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f}-{max(values):.2f})"
