"""What is compared: every row of the table, the tries of the rate, and the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from ict_deepfake.comparison.training import Method, Settings
from ict_deepfake.degradations import TrainingDegradation
from shared_utils import UserError

KINDS = ("blend", "rerender", "self_blend", "reenact")
"""Suspects: swaps as in training, swaps without a trace, the same person blended in, the same person with another face."""
SHOWN = {"rerender": "re-render", "self_blend": "self-blend"}
"""How tables and figures call kinds that have another name there."""
CHANGES = ("clean", "blur", "noise")
DEGRADATION = TrainingDegradation(smallest=317, quality=(100, 100), grey=0.0)
"""Of every method's pictures, as in the default recipe: blur, noise, mirrors."""
RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
"""The tries, the same for every method that is trained."""


class Training(NamedTuple):
    """A network to train. ``private``: r of the people; ``consistency``: whether lambda is above 0."""

    method: Method
    private: float = 0.6
    consistency: bool = True


TRAININGS: dict[str, Training] = {
    "binary": Training("binary"),
    "ict": Training("ict"),
    "lambda_0": Training("ict", consistency=False),
    "ict_r_0.3": Training("ict", 0.3),
    "ict_r_0.9": Training("ict", 0.9),
}


class Row(NamedTuple):
    """A line of the table: which network, and which question it is asked."""

    title: str
    training: str
    score: str


ROWS: dict[str, Row] = {
    "binary": Row("binary real/fake, trained on blends", "binary", "logit"),
    "ict": Row("ICT", "ict", "consistency"),
    "ict_lambda_0": Row("ICT, lambda = 0", "lambda_0", "consistency"),
    "ref": Row("ICT-Ref, person in the set", "ict", "reference"),
    "ref_absent": Row("ICT-Ref, person absent", "ict", "absent"),
    "ref_lambda_0": Row("ICT-Ref, lambda = 0", "lambda_0", "reference"),
    "claim": Row("claim: recogniser told the name", "ict", "claim"),
    "claim_lambda_0": Row("claim, lambda = 0", "lambda_0", "claim"),
    "ict_r_0.3": Row("ICT, r = 0.3", "ict_r_0.3", "consistency"),
    "ref_r_0.3": Row("ICT-Ref, r = 0.3", "ict_r_0.3", "reference"),
    "ict_r_0.9": Row("ICT, r = 0.9", "ict_r_0.9", "consistency"),
    "ref_r_0.9": Row("ICT-Ref, r = 0.9", "ict_r_0.9", "reference"),
}


@dataclass(frozen=True)
class Plan:
    """What is run.

    Args:
        seeds: of people, weights and swaps.
        tuning: seed on whose validation people the rate is chosen; not one of the seeds.
        trainings: names of ``TRAININGS``.
        rates: the tries of the rate.
        persons: of a training.
        pictures: of each person.
        size: of the pictures.
        batch_size: pairs of a step.
        settings: of the trainings, besides the rate.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    tuning: int = 100
    trainings: tuple[str, ...] = tuple(TRAININGS)
    rates: tuple[float, ...] = RATES
    persons: int = 200
    pictures: int = 20
    size: int = 32
    batch_size: int = 32
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        unknown = [name for name in self.trainings if name not in TRAININGS]
        if unknown or not self.trainings:
            raise UserError(f"the training {(unknown or [''])[0]!r} is unknown: choose of {', '.join(TRAININGS)}")
        if not self.seeds or self.tuning in self.seeds:
            raise UserError(
                f"the tuning seed {self.tuning} must not be one of the seeds {self.seeds} that are reported"
            )
        if not self.rates:
            raise UserError("no rate to try: give one or more")

    def description(self) -> dict[str, Any]:
        """Plain values for ``shared_utils.work``."""
        return asdict(self) | {"degradation": asdict(DEGRADATION)}

    @property
    def rows(self) -> list[str]:
        """The lines of the table that its trainings give."""
        return [name for name, row in ROWS.items() if row.training in self.trainings]

    @property
    def tuned(self) -> list[Method]:
        """Methods that have their own tries: a variant of ICT takes ICT's rate."""
        return list(dict.fromkeys(TRAININGS[name].method for name in self.trainings))


def mean_and_range(values: Sequence[float], form: str = ".3f") -> str:
    """ "0.652 (0.60-0.73)"."""
    low, high = min(values), max(values)
    return f"{sum(values) / len(values):{form}} ({low:.2f}-{high:.2f})"
