"""Which parts of the objective are on in which epoch."""

from __future__ import annotations

from dataclasses import dataclass

from shared_utils import UserError


@dataclass(frozen=True)
class Stage:
    """What is on: the instance loss, the prototypes' loss, the correction of labels, positives guided by labels.

    Raises:
        UserError: correction without prototypes, whose similarity it needs.
    """

    instance: bool = True
    prototypes: bool = False
    correction: bool = False
    guided: bool = False

    def __post_init__(self) -> None:
        if self.correction and not self.prototypes:
            raise UserError("correction is on and prototypes are off: it needs their similarity; switch both on")


@dataclass(frozen=True)
class Stages:
    """The epoch (0-based) from which each part is on; None: never. The defaults are the published script's.

    Raises:
        UserError: the correction begins before the prototypes.
    """

    instance: int | None = 0
    prototypes: int | None = 1
    correction: int | None = 11
    guided: int | None = 15

    def __post_init__(self) -> None:
        if self.correction is not None and (self.prototypes is None or self.prototypes > self.correction):
            begin = "never" if self.prototypes is None else f"at epoch {self.prototypes}"
            raise UserError(
                f"stages: correction begins at epoch {self.correction} and prototypes begin {begin}: the correction needs "
                "them; let prototypes begin no later, or set correction to null"
            )


def stage_at(epoch: int, starts: Stages | None = None) -> Stage:
    """The stage of an epoch (0-based)."""
    starts = starts or Stages()
    begins = (starts.instance, starts.prototypes, starts.correction, starts.guided)
    return Stage(*(begin is not None and epoch >= begin for begin in begins))
