"""What is compared: the rows of the table, the settings that each method tries, and the seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from luperson_nl.comparison.training import Settings
from shared_utils import UserError

DEFAULT_NOISE, HEAVY_NOISE = 1.0, 2.0


class Row(NamedTuple):
    """A row of the table.

    ``method``: of ``pnl.METHODS``, or ``clean`` (supervised on the true persons), ``random`` (untrained), ``histogram``;
    ``noise``: of the street's labels; ``length``: in shares of the plan's epochs, or ``short``.
    """

    title: str
    method: str
    noise: float = DEFAULT_NOISE
    length: float | str = 1.0


class Try(NamedTuple):
    """One setting of a method's grid; ``weight`` is of PNL's two contrastive losses."""

    rate: float
    weight: float | None = None


ROWS: dict[str, Row] = {
    "pnl": Row("PNL", "pnl"),
    "supervised": Row("supervised on the noisy ids", "supervised"),
    "moco": Row("MoCo", "moco"),
    "random": Row("random network", "random"),
    "histogram": Row("HSV stripes", "histogram"),
    "clean": Row("bound: supervised on true persons", "clean"),
    "supervised_long": Row("supervised, equal seconds", "supervised", length=1.9),
    "pnl_short": Row("PNL, 10 epochs", "pnl", length="short"),
    "supervised_short": Row("supervised, 10 epochs", "supervised", length="short"),
    "pnl_clean": Row("PNL, no noise", "pnl", 0.0),
    "supervised_clean": Row("supervised, no noise", "supervised", 0.0),
    "pnl_heavy": Row("PNL, heavy noise", "pnl", HEAVY_NOISE),
    "supervised_heavy": Row("supervised, heavy noise", "supervised", HEAVY_NOISE),
}
TRIES: dict[str, tuple[Try, ...]] = {
    "pnl": tuple(
        Try(rate, weight)
        for rate, weight in (
            (0.15, 0.1),
            (0.15, 0.05),
            (0.3, 0.1),
            (0.3, 0.05),
            (0.45, 0.0125),
            (0.6, 0.05),
            (0.6, 0.025),
            (0.6, 0.0125),
            (0.6, 0.006),
            (1.2, 0.0125),
        )
    ),
    "supervised": tuple(map(Try, (0.15, 0.3, 0.45, 0.5, 0.6, 0.75, 0.9, 1.2, 1.8, 2.4))),
    "moco": tuple(map(Try, (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.4))),
}
"""The same number for every method that is trained."""
FINETUNING_RATES = (3.5e-4, 1e-3, 3e-3)
STARTS = ("pnl", "supervised", "moco", "scratch")


@dataclass(frozen=True)
class Plan:
    """What is run.

    Args:
        rows: names of ``ROWS``.
        seeds: of streets, weights and order.
        tuning: the street on whose validation persons everything is chosen; not one of the seeds.
        epochs: of a row of length 1.
        short: epochs of the short rows.
        persons: of a training split.
        held: persons of a validation or test split.
        size: of the crops.
        finetuning_epochs: of every start; 0: nothing is fine-tuned.
        settings: what all methods share.
    """

    rows: tuple[str, ...] = tuple(ROWS)
    seeds: tuple[int, ...] = (0, 1, 2)
    tuning: int = 100
    epochs: int = 24
    short: int = 10
    persons: int = 120
    held: int = 60
    size: tuple[int, int] = (64, 32)
    finetuning_epochs: int = 20
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        unknown = [name for name in self.rows if name not in ROWS]
        if unknown or not self.rows:
            raise UserError(f"the row {(unknown or [''])[0]!r} is unknown: choose of {', '.join(ROWS)}")
        if not self.seeds or self.tuning in self.seeds:
            raise UserError(
                f"the tuning seed {self.tuning} must not be one of the seeds {self.seeds} that are reported"
            )

    def description(self) -> dict[str, Any]:
        """Plain values for ``shared_utils.work``."""
        return asdict(self) | {"tries": TRIES, "finetuning_rates": FINETUNING_RATES}

    def epochs_of(self, row: str) -> int:
        """Epochs of a row."""
        length = ROWS[row].length
        return self.short if isinstance(length, str) else round(length * self.epochs)

    def settings_of(self, row: str, chosen: Try) -> Settings:
        """Settings of a row with the try that was chosen for its method."""
        return configured(self.settings, chosen, self.epochs_of(row))


def configured(settings: Settings, chosen: Try, epochs: int) -> Settings:
    """Settings with the values of a try."""
    weight = settings.weight if chosen.weight is None else chosen.weight
    return replace(settings, rate=chosen.rate, weight=weight, epochs=epochs)
