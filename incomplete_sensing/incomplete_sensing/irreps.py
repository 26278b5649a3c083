"""Actions of finite groups on R^n and their complex irreducible representations, from the matrices alone.

How often an irrep occurs decides how many measurements an invariant model needs (C4, C6 of arXiv 2203.12513): with
s_j its dimension and c_j its multiplicity, one operator must have m >= max_j c_j/s_j rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from shared_utils import UserError

_SAME = 1e-6


class Action:
    """A finite group acting on R^n: every element as a permutation or as an orthogonal matrix.

    Args:
        elements: (|G|, n) integers, (T_g v)[i] = v[elements[g, i]]; or (|G|, n, n) float64 matrices.
    """

    def __init__(self, elements: np.ndarray) -> None:
        self._elements = elements

    @property
    def elements(self) -> np.ndarray:
        return self._elements

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

    def generators(self) -> Iterator[np.ndarray]:
        """Elements that generate the group: here all of them; each a permutation (n,) or a matrix (n, n)."""
        yield from self.elements

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

    def orders(self) -> np.ndarray:
        """How often each element of the (faithful) action is applied until it is the identity: (|G|,)."""
        powers = self.apply(self._probe)
        found = np.zeros(self.order, dtype=int)
        for exponent in range(1, self.order + 1):
            found[(found == 0) & (np.abs(powers - self._probe).max(axis=1) <= _SAME)] = exponent
            if found.all():
                return found
            powers = self.apply(powers)
        raise UserError("the operations are not a group: a power of one of them is missing; give all of its elements")

    def largest_multiplicity(self, g: int) -> int:
        """max_j c_j of the cyclic group that element g generates: how often its most frequent eigenvalue occurs."""
        if self.permutes:
            # The eigenvalue 1 occurs once a cycle, and no other one more often.
            ones = np.ones(self.n, dtype=np.int8)
            graph = csr_array((ones, self.elements[g], np.arange(self.n + 1)), shape=(self.n, self.n))
            return int(connected_components(graph, return_labels=False))
        angles = np.sort(np.angle(np.linalg.eigvals(self.elements[g])) % (2 * np.pi))
        starts = np.flatnonzero(np.diff(angles, prepend=angles[-1] - 2 * np.pi) > _SAME)
        return int(np.diff(starts, append=starts[0] + self.n).max()) if len(starts) else self.n


class ShiftAction(Action):
    """Circular shifts of (n,), (H, W) or (C, H, W) by multiples of ``step``, never along channels; in closed form.

    Its elements are listed only where they are asked for, and only while they fit ``limit`` entries.
    """

    limit = 2**27

    def __init__(self, shape: Sequence[int], step: int = 1) -> None:
        self.shape, self.step = tuple(shape), step
        self.sides = self.shape[-2:]
        self._listed: np.ndarray | None = None
        for size in self.sides:
            if step < 1 or size % step:
                raise UserError(f"shifts by {step} do not close on a side of {size}: give a step that divides it")

    @property
    def elements(self) -> np.ndarray:
        if self._listed is None:
            self._listed = self._list()
        return self._listed

    def _list(self) -> np.ndarray:
        if self.order * self.n > self.limit:
            raise UserError(f"the {self.order} shifts of {self.n} entries are too many to list")
        places = np.arange(self.n).reshape(self.shape)
        made = [places]
        for axis, size in zip(range(-len(self.sides), 0), self.sides, strict=True):
            made = [np.roll(one, shift, axis) for one in made for shift in range(0, size, self.step)]
        return np.stack([one.reshape(-1) for one in made])

    def generators(self) -> Iterator[np.ndarray]:
        places = np.arange(self.n).reshape(self.shape)
        for axis in range(-len(self.sides), 0):
            yield np.roll(places, self.step, axis).reshape(-1)

    @property
    def order(self) -> int:
        return math.prod(size // self.step for size in self.sides)

    @property
    def n(self) -> int:
        return math.prod(self.shape)

    @property
    def permutes(self) -> bool:
        return True

    def irreps(self) -> Irreps:
        """They act freely: each of the |G| irreps, all of dimension 1, occurs n/|G| times."""
        copies = self.n // self.order
        cyclic = math.lcm(*(size // self.step for size in self.sides))
        return Irreps(
            n=self.n,
            order=self.order,
            cyclic_order=cyclic,
            cyclic_multiplicity=self.n // cyclic,
            dimensions=(1,) * self.order,
            multiplicities=(copies,) * self.order,
        )


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
    """A group acting on arrays of ``shape`` (n,), (H, W) or (C, H, W), row-major; channels keep their places.

    Args:
        name: ``shift``: circular shifts by multiples of ``step``, along both axes of an image; ``rot90``: quarter turns
            (square images); ``flip``: left-right; ``dihedral``: turns and reflections (for H != W half turns and
            reflections); ``trivial``.
        shape: what the group acts on; complex images are (2, H, W).
        step: of the shifts.
    """
    shape = tuple(shape)
    if not 1 <= len(shape) <= 3 or min(shape) < 1:
        raise UserError(f"--shape {list(shape)}: a group acts on [n], [H,W] or [C,H,W]")
    places = np.arange(math.prod(shape)).reshape(shape)
    if name == "trivial":
        made = [places]
    elif name == "shift":
        return ShiftAction(shape, step)
    elif name not in GROUPS:
        raise UserError(f"unknown group {name}: one of {', '.join(GROUPS)}, or a .npy file of its elements")
    elif len(shape) < 2:
        raise UserError(f"the group {name} acts on images: give --shape [H,W] or [C,H,W], not {list(shape)}")
    elif name == "flip":
        made = [places, places[..., ::-1]]
    elif name == "rot90" and shape[-2] != shape[-1]:
        raise UserError(f"quarter turns need a square image, this is {shape[-2]} x {shape[-1]}: use flip or dihedral")
    else:
        turns = range(4) if shape[-2] == shape[-1] else (0, 2)
        made = [np.rot90(places, turn, axes=(-2, -1)) for turn in turns]
        if name == "dihedral":
            made += [one[..., ::-1] for one in made]
    return Action(np.stack([one.reshape(-1) for one in made]))


# Decomposition ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Irreps:
    """Complex irreps in an action on R^n: ``dimensions`` s_j and ``multiplicities`` c_j, largest first.

    Args:
        n: entries of a signal.
        order: number of different operations.
        cyclic_order: elements of the cyclic subgroup whose max_j c_j is smallest; it is the group where that is cyclic.
        cyclic_multiplicity: max_j c_j of that subgroup.
        dimensions: s_j.
        multiplicities: c_j.
    """

    n: int
    order: int
    cyclic_order: int
    cyclic_multiplicity: int
    dimensions: tuple[int, ...]
    multiplicities: tuple[int, ...]

    @property
    def cyclic(self) -> bool:
        """Whether one element generates the group."""
        return self.cyclic_order == self.order

    @property
    def largest_ratio(self) -> Fraction:
        """max_j c_j/s_j, the least m of C4 before rounding up."""
        return max(Fraction(c, s) for s, c in zip(self.dimensions, self.multiplicities, strict=True))

    @property
    def necessary_rows(self) -> int:
        """The smallest m that C4 allows."""
        return max(-(-c // s) for s, c in zip(self.dimensions, self.multiplicities, strict=True))

    def orbit_rank(self, m: int) -> int:
        """rank [A_i T_g] over operators i and elements g, for almost every choice: sum_j s_j min(c_j, m s_j).

        m: rows of all operators together.
        """
        return sum(s * min(c, m * s) for s, c in zip(self.dimensions, self.multiplicities, strict=True))


def irreps(action: Action) -> Irreps:
    """Decompose an action into complex irreps, without tables.

    The average of a random Hermitian matrix over the group commutes with it, and its eigenspaces are irreducible almost
    surely; characters tell which of them are equivalent. Done on R^n, or, where the group is smaller than n, on its own
    regular representation, so that large images cost no more than small ones.

    Raises UserError where the elements are not a group.
    """
    if isinstance(action, ShiftAction):
        return action.irreps()
    group = action.faithful()
    check_group(group)
    orders = group.orders()
    # Of equal multiplicities the larger subgroup: the group itself, where it is cyclic.
    multiplicity, negative = min((group.largest_multiplicity(g), -int(orders[g])) for g in range(group.order))
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
    dimensions, multiplicities = tuple(s for s, _ in found), tuple(c for _, c in found)
    return Irreps(group.n, group.order, -negative, multiplicity, dimensions, multiplicities)


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
