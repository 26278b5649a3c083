"""Attacks made by name under one shared budget, and swept over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from shared_utils import UserError, lists
from si_adv.attacks import ATTACKS, Attack, attack_options, build_attack
from si_adv.attacks.gradient import FGM, GradientAttack
from si_adv.metrics import MEASURED_NEIGHBOURS

Maker = Callable[[nn.Module, int], Attack]
"""Makes an attack on a victim with a seed."""

_COMMON = {"targeted", "confidence", "step", "max_queries", "lookahead", "surrogate"}
SWEPT = ("eps", "step_size", "steps")


def maker(name: str, shared: Mapping[str, Any], own: Mapping[str, Any]) -> Maker:
    """A maker of the attack ``name``.

    Args:
        name: of ``ATTACKS``.
        shared: the common budget (eps, step_size, steps), given to the gradient attacks, as far as they have it; the
            optimisation attacks keep the budgets of their papers.
        own: options of this attack alone, which win.

    Raises:
        UserError: an unknown name.
    """
    known, kind = attack_options(name), ATTACKS[name]
    taken = set(_COMMON)
    if issubclass(kind, GradientAttack):
        # One step of FGM knows no box and no number of steps.
        taken |= {"step_size"} if issubclass(kind, FGM) else {"eps", "step_size", "steps"}
    options = {key: value for key, value in shared.items() if key in taken and key in known and value is not None}
    options |= own
    return lambda model, seed: build_attack(name, model, seed=seed, **options)


def makers(
    names: Sequence[str], shared: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]], sweep: str | None = None
) -> dict[str, Maker]:
    """Makers by label: the attack's name, or ``si_ifgm eps=0.02`` for every value of a sweep.

    Args:
        names: of ``ATTACKS``.
        shared: see ``maker``.
        own: options by attack.
        sweep: ``"eps:0.02,0.04"``, or likewise of step_size or steps.

    Raises:
        UserError: an unknown name, options for an attack that is not made, a sweep of something else.
    """
    for name in own:
        if name not in names:
            raise UserError(f"options are given for {name}, which is not attacked with: add it to --attack")
    if sweep is None:
        return {name: maker(name, shared, own.get(name, {})) for name in names}
    argument, _, values = sweep.partition(":")
    wrong = f"--sweep is eps:, step_size: or steps: and values with commas between, got {sweep}"
    if argument not in SWEPT or not lists.names(values):
        raise UserError(wrong)
    made = {}
    for name in names:
        for value in lists.names(values):
            try:
                number = int(value) if argument == "steps" else float(value)
            except ValueError:
                raise UserError(wrong) from None
            made[f"{name} {argument}={value}"] = maker(name, {**shared, argument: number}, own.get(name, {}))
    return made


def check(made: Mapping[str, Maker], victims: Iterable[nn.Module]) -> None:
    """Make every attack on every victim once: an unknown option is found before anything is read or attacked.

    Raises:
        UserError: such an option, or an attack along the very normals that its result would be measured by.
    """
    for victim in victims:
        for label, make in made.items():
            if make(victim, 0).normal_neighbours == MEASURED_NEIGHBOURS:
                raise UserError(
                    f"{label} would move along the normals that surface is measured by: take another number of "
                    f"normal_neighbours than {MEASURED_NEIGHBOURS}"
                )
