"""Suspects made from genuine pictures of parametric people: two kinds of swaps, and two controls that are none.

In all four the pose and the background are those of the genuine picture; in swaps, light and expression too, as a real
face swapper keeps them.
"""

from __future__ import annotations

import numpy as np

from ict_deepfake.procedural.conditions import Conditions, draw_conditions
from ict_deepfake.procedural.faces import FaceSet
from ict_deepfake.procedural.people import People, chimeras
from ict_deepfake.procedural.rendering import render
from ict_deepfake.swapping import Recipe, swap_many

SWAPS = ("blend", "rerender")
CONTROLS = ("self_blend", "reenact")


def make_fakes(
    kind: str,
    people: People,
    genuine: FaceSet,
    conditions: Conditions,
    donors: np.ndarray,
    rng: np.random.Generator,
    recipe: Recipe | None = None,
) -> FaceSet:
    """One suspect for each genuine picture.

    Args:
        kind: ``blend``: the donor's face, rendered in the target's pose, light and expression, is blended in as in training.
            ``rerender``: the donor's inner parameters are drawn inside the target's head: no boundary, no seam, no trace of
            resampling. ``self_blend``: the same person in another light, colour and expression is blended in: traces without
            a swap. ``reenact``: the same person is drawn with another expression.
        people: everyone, by identity.
        genuine: n pictures.
        conditions: they were rendered under.
        donors: (n,) identities of the inner faces; the controls take none.
        rng: draws masks, blends and the controls' conditions.
        recipe: of the blends; the default one where not given.

    Returns:
        FaceSet with both identities of each picture.
    """
    outer, size = genuine.outer, genuine.images.shape[1]
    if kind == "rerender":
        images, points = render(chimeras(people[donors], people[outer]), conditions, size)
        return FaceSet(images, outer, points, donors)
    other = draw_conditions(len(conditions), rng)
    if kind == "reenact":
        images, points = render(people[outer], conditions.with_expression_of(other), size)
        return FaceSet(images, outer, points, outer)
    if kind == "blend":
        inner, pasted = donors, conditions
    elif kind == "self_blend":
        inner, pasted = outer, conditions.with_look_of(other)
    else:
        raise ValueError(f"{kind!r} is none of {', '.join(SWAPS + CONTROLS)}")
    images, points = render(people[inner], pasted, size)
    swapped, _ = swap_many(genuine.images, images, genuine.points, points, recipe or Recipe(), rng)
    return FaceSet(swapped, outer, genuine.points, inner)
