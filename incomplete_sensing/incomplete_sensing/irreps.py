"""Actions of finite groups on R^n and their complex irreducible representations, from the matrices alone.

How often an irrep occurs decides how many measurements an invariant model needs (C4, C6 of arXiv 2203.12513): with
s_j its dimension and c_j its multiplicity, one operator must have m >= max_j c_j/s_j rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shared_utils import UserError

_SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Action:
    """A finite group acting on R^n: every element as a permutation or as an orthogonal matrix.

    Args:
        elements: (|G|, n) integers, (T_g v)[i] = v[elements[g, i]]; or (|G|, n, n) float64 matrices.
    """

    elements: np.ndarray

    @property
    def order(self) -> int:
        return len(self.elements)

    @property
    def n(self) -> int:
        return self.elements.shape[1]

    @property
    def permutes(self) -> bool:
        return self.elements.ndim == 2

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Element g on row g of (|G|, n), or every element on one vector (n,): (|G|, n)."""
        vectors = np.broadcast_to(vectors, (self.order, self.n))
        if self.permutes:
            return np.take_along_axis(vectors, self.elements, axis=1)
        return (
            np.matvec(self.elements, vectors) if hasattr(np, "matvec") else (self.elements @ vectors[..., None])[..., 0]
        )

    def left_product(self, g: int, matrix: np.ndarray) -> np.ndarray:
        """T_g M for M (n, p)."""
        return matrix[self.elements[g]] if self.permutes else self.elements[g] @ matrix

    def right_product(self, matrix: np.ndarray, g: int) -> np.ndarray:
        """M T_g for M (m, n)."""
        return matrix[:, np.argsort(self.elements[g])] if self.permutes else matrix @ self.elements[g]

    def traces(self) -> np.ndarray:
        """The character of the action, tr T_g: (|G|,)."""
        if self.permutes:
            return (self.elements == np.arange(self.n)).sum(axis=1).astype(np.float64)
        return np.trace(self.elements, axis1=1, axis2=2)

    def faithful(self) -> Action:
        """The same action with every operation once: a repeated one changes no irrep."""
        return Action(self.elements[_first_of_each(self.apply(self._probe))])

    @cached_property
    def _probe(self) -> np.ndarray:
        """A signal that no two different operations, or products of them, map to the same place (almost surely)."""
        return np.random.default_rng(0).standard_normal(self.n)

    def products(self, g: int) -> np.ndarray:
        """Places of T_g T_h, h over the group, in a faithful action: (|G|,). Raises UserError where one is missing."""
        images = self.apply(self._probe)
        moved = Action(np.broadcast_to(self.elements[g], self.elements.shape)).apply(images)
        # One coordinate along a random direction tells the images apart.
        direction = np.random.default_rng(1).standard_normal(self.n)
        keys, wanted = images @ direction, moved @ direction
        order = np.argsort(keys)
        place = order[np.clip(np.searchsorted(keys[order], wanted), 0, self.order - 1)]
        below = order[np.clip(np.searchsorted(keys[order], wanted) - 1, 0, self.order - 1)]
        place = np.where(np.abs(keys[below] - wanted) < np.abs(keys[place] - wanted), below, place)
        if np.abs(images[place] - moved).max() > _SAME * np.abs(self._probe).max():
            raise UserError(
                "the operations are not a group: a product of two of them is missing; give all of its elements"
            )
        return place

    def cyclic(self) -> bool:
        """Whether one element generates the (faithful) group."""
        powers = self.apply(self._probe)
        generates = np.ones(self.order, dtype=bool)
        for _ in range(self.order - 1):
            generates &= np.abs(powers - self._probe).max(axis=1) > _SAME
            if not generates.any():
                return False
            powers = self.apply(powers)
        return True


def _first_of_each(images: np.ndarray) -> list[int]:
    """Places of the first of equal rows, in order."""
    order = np.lexsort(np.round(images[:, :8], 6).T)
    kept: list[int] = []
    previous = None
    for place in order:
        if previous is None or np.abs(images[place] - images[previous]).max() > _SAME:
            kept.append(place)
            previous = place
    return sorted(kept)


def check_group(action: Action) -> None:
    """Raise UserError unless the elements are permutations or orthogonal matrices and closed under products.

    Closure is tried for 16 of the elements against all of them.
    """
    if action.permutes:
        if not (np.sort(action.elements, axis=1) == np.arange(action.n)).all():
            raise UserError(f"an element is not a permutation of 0..{action.n - 1}: every index must occur once")
    else:
        grams = action.elements @ action.elements.transpose(0, 2, 1)
        if np.abs(grams - np.eye(action.n)).max() > _SAME:
            raise UserError("an element is not orthogonal: the theory needs T_g T_g^T = I")
    group = action.faithful()
    for g in np.random.default_rng(2).permutation(group.order)[:16]:
        group.products(int(g))


# The usual groups -------------------------------------------------------------------------------------------------

GROUPS = ("shift", "rot90", "flip", "dihedral", "trivial")


def named_action(name: str, shape: Sequence[int], step: int = 1) -> Action:
    """A group acting on arrays of ``shape`` (n,) or (H, W), row-major.

    Args:
        name: ``shift``: circular shifts by multiples of ``step``, along both axes of an image; ``rot90``: quarter turns
            (square images); ``flip``: left-right; ``dihedral``: turns and reflections (for H != W half turns and
            reflections); ``trivial``.
        shape: what the group acts on.
        step: of the shifts.
    """
    shape = tuple(shape)
    places = np.arange(int(np.prod(shape))).reshape(shape)
    if name == "trivial":
        made = [places]
    elif name == "shift":
        for size in shape:
            if size % step:
                raise UserError(f"shifts by {step} do not close on a side of {size}: give a step that divides it")
        made = [places]
        for axis, size in enumerate(shape):
            made = [np.roll(one, shift, axis) for one in made for shift in range(0, size, step)]
    elif name not in GROUPS:
        raise UserError(f"unknown group {name}: one of {', '.join(GROUPS)}, or a .npy file of its elements")
    elif len(shape) != 2:
        raise UserError(f"the group {name} acts on images: give --shape [H,W], not {list(shape)}")
    elif name == "flip":
        made = [places, places[:, ::-1]]
    elif name == "rot90" and shape[0] != shape[1]:
        raise UserError(f"quarter turns need a square image, this is {shape[0]} x {shape[1]}: use flip or dihedral")
    else:
        turns = range(4) if shape[0] == shape[1] else (0, 2)
        made = [np.rot90(places, turn) for turn in turns]
        if name == "dihedral":
            made += [one[:, ::-1] for one in made]
    return Action(np.stack([one.reshape(-1) for one in made]))


# Decomposition ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Irreps:
    """Complex irreps in an action on R^n: ``dimensions`` s_j and ``multiplicities`` c_j, largest first.

    Args:
        n: entries of a signal.
        order: number of different operations.
        cyclic: whether one of them generates the group.
        dimensions: s_j.
        multiplicities: c_j.
    """

    n: int
    order: int
    cyclic: bool
    dimensions: tuple[int, ...]
    multiplicities: tuple[int, ...]

    @property
    def largest_ratio(self) -> float:
        """max_j c_j/s_j, the least m of C4 before rounding up."""
        return max(c / s for s, c in zip(self.dimensions, self.multiplicities, strict=True))

    @property
    def necessary_rows(self) -> int:
        """The smallest m that C4 allows."""
        return max(-(-c // s) for s, c in zip(self.dimensions, self.multiplicities, strict=True))

    def orbit_rank(self, m: int) -> int:
        """rank [A T_g]_g for almost every A with m rows: sum_j s_j min(c_j, m s_j)."""
        return sum(s * min(c, m * s) for s, c in zip(self.dimensions, self.multiplicities, strict=True))


def irreps(action: Action) -> Irreps:
    """Decompose an action into complex irreps, without tables.

    The average of a random Hermitian matrix over the group commutes with it, and its eigenspaces are irreducible almost
    surely; characters tell which of them are equivalent. Done on R^n, or, where the group is smaller than n, on its own
    regular representation, so that large images cost no more than small ones.

    Raises UserError where the elements are not a group.
    """
    group = action.faithful()
    check_group(group)
    cyclic = group.cyclic()
    traces = group.traces()
    if np.count_nonzero(np.abs(traces) > _SAME) == 1 and _abelian(group):
        # A free action is n/|G| copies of the regular representation, which holds each irrep s_j times.
        found = [(1, group.n // group.order)] * group.order
    elif group.n <= group.order:
        dimensions, _, counts = _decompose(group)
        found = list(zip(dimensions, counts, strict=True))
    else:
        regular = Action(np.stack([np.argsort(group.products(g)) for g in range(group.order)]))
        dimensions, characters, _ = _decompose(regular)
        counts = np.rint(np.real(characters.conj() @ traces) / group.order).astype(int)
        found = [(s, int(c)) for s, c in zip(dimensions, counts, strict=True) if c]
    found.sort(reverse=True)
    assert sum(s * c for s, c in found) == group.n, "the irreps do not fill the space"
    return Irreps(group.n, group.order, cyclic, tuple(s for s, _ in found), tuple(c for _, c in found))


def _abelian(group: Action) -> bool:
    """Whether the elements commute, tried for 16 of them against all."""
    images = group.apply(group._probe)
    for g in np.random.default_rng(3).permutation(group.order)[:16]:
        element = group.elements[g]
        first = Action(np.broadcast_to(element, group.elements.shape)).apply(images)
        second = group.apply(Action(element[None]).apply(group._probe)[0])
        if np.abs(first - second).max() > _SAME:
            return False
    return True


def _decompose(action: Action, attempts: int = 5) -> tuple[list[int], np.ndarray, list[int]]:
    """Dimensions (J), characters (J, |G|) and multiplicities (J) of the irreps in an action, by one averaged matrix."""
    for seed in range(attempts):
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((action.n, action.n)) + 1j * rng.standard_normal((action.n, action.n))
        noise = noise + noise.conj().T
        average = np.zeros_like(noise)
        for g in range(action.order):
            # T M T^* = (T (T M)^*)^* with M Hermitian.
            average += action.left_product(g, action.left_product(g, noise).conj().T).conj().T
        values, vectors = np.linalg.eigh(average / action.order)
        starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > 1e-8 * np.abs(values).max())
        characters = np.stack(
            [
                np.add.reduceat((vectors.conj() * action.left_product(g, vectors)).sum(0), starts)
                for g in range(action.order)
            ],
            axis=1,
        )
        inner = characters.conj() @ characters.T / action.order
        # Irreducible, and pairwise equivalent or not: otherwise eigenvalues fell together, and another draw decides.
        if np.abs(np.diag(inner) - 1).max() < _SAME and np.abs(inner - np.rint(inner.real)).max() < _SAME:
            same = np.rint(inner.real).astype(int)
            leaders = [j for j in range(len(starts)) if not same[j, :j].any()]
            sizes = np.diff(starts, append=action.n)
            return [int(sizes[j]) for j in leaders], characters[leaders], [int(same[j].sum()) for j in leaders]
    raise RuntimeError(f"no draw out of {attempts} separated the irreps of the action")
