"""The direct test without matrices, for operators that keep some entries of a signal: masks of pixels or of k-space.

In orthonormal coordinates where an operator is a mask P_g, the conditions of the consistent set have the Gram matrix
sum_g (P_g - W_g W_g^T) = D - W W^T, with W_g an orthonormal basis of P_g X: a diagonal that counts how often an entry is
seen, less a low rank. So X^ is what is never seen, and the eigenvectors of W^T D^-1 W (G k, G k) with eigenvalue 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from incomplete_sensing.identifiability.direct_test import FLOOR, ConsistentSet, column_space
from incomplete_sensing.identifiability.iterative import FunctionOperators
from incomplete_sensing.identifiability.shift_orbit import ShiftOrbit
from incomplete_sensing.irreps import Action, ShiftAction

_CHUNK = 4096
_WORK, _WIDEST, _KEPT = 2e11, 4000, 2**25
"""Multiplications that W^T D^-1 W may take, its rows, and entries of matrices that are kept; larger models go through
conjugate gradients."""


def _different(masks: np.ndarray) -> np.ndarray:
    """The different ones of masks (..., N), in order: (count, N)."""
    flat = masks.reshape(-1, masks.shape[-1])
    return flat[_first_of_each(flat)]


def _first_of_each(masks: np.ndarray) -> list[int]:
    first: dict[bytes, int] = {}
    for place, row in enumerate(np.packbits(masks, axis=1)):
        first.setdefault(row.tobytes(), place)
    return list(first.values())


@dataclass(frozen=True, eq=False)
class SelectingOperators:
    """G operators that each keep some entries of the signal, or of its centred Fourier transform.

    Args:
        masks: (G, N) bool.
        shape: of the signals: (C, H, W), or (H, W), or (N,); with ``fourier`` (2, H, W) for complex signals and (H, W) for
            real ones.
        fourier: masks are of k-space (H W entries).
    """

    masks: np.ndarray
    shape: tuple[int, ...]
    fourier: bool = False

    def __post_init__(self) -> None:
        if self.fourier and len(self.shape) == 2:
            # A real image's coefficient at -f is the conjugate of that at f: either shows both.
            mirrored = self._moved(np.array([[-1, 0], [0, -1]]))
            object.__setattr__(self, "masks", self.masks | mirrored)

    @property
    def n(self) -> int:
        return math.prod(self.shape)

    @property
    def num_operators(self) -> int:
        return len(self.masks)

    @property
    def _dims(self) -> int:
        """Real dimensions of an entry."""
        return self.n // self.masks.shape[1]

    @property
    def counts(self) -> list[int]:
        """Independent rows of every operator, over the reals."""
        return [int(count) * self._dims for count in self.masks.sum(1)]

    def subset(self, kept: list[int]) -> SelectingOperators:
        return SelectingOperators(self.masks[kept], self.shape, self.fourier)

    def different(self) -> list[int]:
        """Places of the operators that see something different."""
        return _first_of_each(self.masks)

    def spectrum(self) -> tuple[int, float]:
        """rank [A_1; ...; A_G] over the reals, and its smallest singular value over the largest."""
        seen = self.masks.sum(0)
        return int((seen > 0).sum()) * self._dims, math.sqrt(seen[seen > 0].min() / seen.max())

    # Groups ----------------------------------------------------------------------------------------------------------

    def moved(self, action: Action) -> SelectingOperators | ShiftOrbit | None:
        """The operators A_g T_h, those that see the same once; None where they do not select entries of these coordinates.

        In k-space a shift changes phases alone, and a turn or flip of the image turns or flips the frequencies.
        """
        if not action.permutes:
            return None
        if isinstance(action, ShiftAction):
            return self if self.fourier else ShiftOrbit(action, masks=self.masks)
        stack = self._orbit(action)
        return None if stack is None else SelectingOperators(_different(stack), self.shape, self.fourier)

    def orbit_sizes(self, action: Action) -> list[int] | None:
        """How many different operators the group makes of each; None where it leaves the coordinates."""
        if not action.permutes:
            return None
        if not isinstance(action, ShiftAction):
            stack = self._orbit(action)
            return None if stack is None else [len(_different(one)) for one in stack.swapaxes(0, 1)]
        if self.fourier:
            return [1] * len(self.masks)
        sizes = []
        for mask in self.masks.reshape(len(self.masks), -1, *action.sides):
            axes = tuple(range(1, mask.ndim))
            power = np.abs(np.fft.fftn(mask.astype(np.float64), axes=axes)) ** 2
            overlap = np.fft.ifftn(power, axes=axes).real.sum(0)[(slice(None, None, action.step),) * len(axes)]
            sizes.append(action.order // int((overlap > mask.sum() - 0.5).sum()))
        return sizes

    def _orbit(self, action: Action) -> np.ndarray | None:
        """Masks of A_g T_h, (|group|, G, N)."""
        moved = []
        for g in range(action.order):
            element = action.elements[g]
            if self.fourier:
                matrix = self._linear_part(element)
                if matrix is None:
                    return None
                moved.append(self._moved(matrix))
            else:
                masks = np.zeros_like(self.masks)
                masks[:, element] = self.masks
                moved.append(masks)
        return np.stack(moved)

    def _linear_part(self, element: np.ndarray) -> np.ndarray | None:
        """The matrix M of a permutation of pixels p -> M p + b, the same in every channel; None where it is none."""
        height, width = self.shape[-2:]
        planes = element.reshape(-1, height * width)
        first = planes[0]
        if any((plane - place * height * width != first).any() for place, plane in enumerate(planes)):
            return None
        rows, columns = np.divmod(first.reshape(height, width), width)
        sides = np.array([height, width])

        def step(down: int, right: int) -> np.ndarray:
            change = np.array([rows[down, right] - rows[0, 0], columns[down, right] - columns[0, 0]])
            return (change + sides // 2) % sides - sides // 2

        if min(height, width) < 3:
            return None
        matrix = np.stack([step(1, 0), step(0, 1)], axis=1)
        if height != width and (matrix[0, 1] or matrix[1, 0]):
            return None
        p = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"))
        wanted = (np.einsum("ab,bhw->ahw", matrix, p) + np.array([rows[0, 0], columns[0, 0]])[:, None, None]) % sides[
            :, None, None
        ]
        return matrix if (wanted[0] == rows).all() and (wanted[1] == columns).all() else None

    def _moved(self, matrix: np.ndarray) -> np.ndarray:
        """The k-space masks with the frequency M^T f where f was."""
        height, width = self.shape[-2:]
        f = np.stack(np.meshgrid(np.arange(height) - height // 2, np.arange(width) - width // 2, indexing="ij"))
        a, b = np.einsum("ba,bhw->ahw", matrix, f)
        places = ((a + height // 2) % height) * width + (b + width // 2) % width
        return self.masks[:, places.reshape(-1)]

    # The test --------------------------------------------------------------------------------------------------------

    def coordinates(self, vectors: np.ndarray) -> np.ndarray:
        """(n, p) real signals as (N, p) entries of the masks, isometrically."""
        if not self.fourier:
            return vectors
        parts = vectors.reshape(*self.shape, vectors.shape[1])
        images = parts[0] + 1j * parts[1] if len(self.shape) == 3 else parts
        k_space = np.fft.fft2(np.fft.ifftshift(images, axes=(0, 1)), axes=(0, 1), norm="ortho")
        return np.fft.fftshift(k_space, axes=(0, 1)).reshape(self.masks.shape[1], vectors.shape[1])

    def test(self, basis: np.ndarray) -> ConsistentSet:
        """The direct test of the linear model that the columns of ``basis`` (n, p) span, whatever n."""
        model = column_space(basis)
        k = model.shape[1]
        entries, masks = self._real_entries(model)
        seen = masks.sum(1)
        rank = self.spectrum()[0]
        # W_g = P_g B R_g, and the directions of B that an operator does not see are left out.
        grouped = _pattern_grams(entries, masks)
        frames = []
        for g in range(masks.shape[1]):
            values, vectors = np.linalg.eigh(_image_gram(entries, masks, grouped, g))
            found = values > FLOOR**2
            frames.append(vectors[:, found] / np.sqrt(values[found]))
        recoverable = tuple(frame.shape[1] == k for frame in frames)
        width = sum(frame.shape[1] for frame in frames)
        if width > _WIDEST or (grouped is None and len(entries) * width**2 > _WORK):
            return self._by_iteration(model, rank)
        values, vectors = np.linalg.eigh(_gram(entries, masks, grouped, frames))
        # An eigenvalue 1 - s^2 is a singular value s of the conditions, over what is seen of the direction.
        null = 1 - values < FLOOR**2
        dimension = self.n - rank + int(null.sum())
        smallest = math.nan
        if dimension == k:
            smallest = _smallest(entries, masks, frames, values, vectors)
        elif rank > null.sum():
            smallest = math.sqrt((1 - values[~null]).min(initial=1.0) / seen.max())
        dropped = math.sqrt(max(0.0, (1 - values[null]).max(initial=0.0)))
        return ConsistentSet(self.n, k, rank, dimension, recoverable, smallest, dropped)

    def _real_entries(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Real coordinates (N, p) of signals, or (2N, p), and which operator keeps which: (N, G) or (2N, G), 0 and 1."""
        entries, masks = self.coordinates(vectors), self.masks.T.astype(np.float64)
        if not self.fourier:
            return entries, masks
        return np.concatenate([np.real(entries), np.imag(entries)]), np.concatenate([masks, masks])

    def _by_iteration(self, model: np.ndarray, rank: int) -> ConsistentSet:
        def keep(mask: np.ndarray, signals: np.ndarray) -> np.ndarray:
            entries = self.coordinates(signals) * mask[:, None]
            return np.concatenate([np.real(entries), np.imag(entries)]) if self.fourier else entries

        def back(mask: np.ndarray, kept: np.ndarray) -> np.ndarray:
            if not self.fourier:
                return kept * mask[:, None]
            real, imaginary = np.split(kept, 2)
            return self._signals((real + 1j * imaginary) * mask[:, None])

        pairs = [(lambda x, m=mask: keep(m, x), lambda y, m=mask: back(m, y)) for mask in self.masks]
        return FunctionOperators(pairs, self.n, self.counts, rank).test(model)

    def seen(self, signals: np.ndarray) -> np.ndarray:
        """The part of signals (n, p) that some operator keeps."""
        kept = self.coordinates(signals) * np.asarray(self.masks.any(axis=0))[:, None]
        return self._signals(kept) if self.fourier else kept

    def _signals(self, entries: np.ndarray) -> np.ndarray:
        """The transpose of ``coordinates``: (N, p) -> (n, p)."""
        height, width = self.shape[-2:]
        k_space = np.fft.ifftshift(entries.reshape(height, width, -1), axes=(0, 1))
        images = np.fft.fftshift(np.fft.ifft2(k_space, axes=(0, 1), norm="ortho"), axes=(0, 1))
        images = images.reshape(height * width, -1)
        return np.concatenate([np.real(images), np.imag(images)]) if len(self.shape) == 3 else np.real(images)


_Grouped = tuple[np.ndarray, np.ndarray]


def _pattern_grams(entries: np.ndarray, masks: np.ndarray) -> _Grouped | None:
    """Which operators keep an entry, each pattern of them once, (P, G), and B_p^T B_p of its entries, (P, k, k).

    A pattern's entries count by this matrix alone. None where there are so many patterns that the matrices would not fit.
    """
    packed = np.ascontiguousarray(np.packbits(masks > 0, axis=1))
    keys = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    k = entries.shape[1]
    if len(first) * k**2 > _KEPT:
        return None
    order = np.argsort(inverse, kind="stable")
    grams = np.zeros((len(first), k, k))
    for start in range(0, len(order), _CHUNK):
        # A pattern that lies across two parts is summed from both.
        rows = order[start : start + _CHUNK]
        own = inverse[rows]
        cuts = np.flatnonzero(np.diff(own, prepend=-1))
        for low, high in zip(cuts, [*cuts[1:], len(rows)], strict=True):
            part = entries[rows[low:high]]
            grams[own[low]] += part.T @ part
    return masks[first], grams


def _image_gram(entries: np.ndarray, masks: np.ndarray, grouped: _Grouped | None, g: int) -> np.ndarray:
    """B^T P_g B, (k, k)."""
    if grouped is not None:
        patterns, grams = grouped
        return np.tensordot(patterns[:, g], grams, 1)
    parts = (slice(start, start + _CHUNK) for start in range(0, len(entries), _CHUNK))
    k = entries.shape[1]
    return sum(((entries[part] * masks[part, g, None]).T @ entries[part] for part in parts), np.zeros((k, k)))


def _gram(entries: np.ndarray, masks: np.ndarray, grouped: _Grouped | None, frames: list[np.ndarray]) -> np.ndarray:
    """W^T D^-1 W, (sum of ranks, same); W is never held."""
    width = sum(frame.shape[1] for frame in frames)
    if not width:
        return np.zeros((0, 0))
    if grouped is not None:
        # R_g^T (sum over the patterns that hold g and h of B_p^T B_p / |p|) R_h.
        patterns, grams = grouped
        scaled = (grams / np.maximum(patterns.sum(1), 1)[:, None, None]).reshape(len(grams), -1)
        rows = []
        for g, frame in enumerate(frames):
            blocks = ((patterns[:, g : g + 1] * patterns).T @ scaled).reshape(len(frames), *grams.shape[1:])
            rows.append([frame.T @ block @ other for block, other in zip(blocks, frames, strict=True)])
        return np.block(rows)
    owner = np.repeat(np.arange(len(frames)), [frame.shape[1] for frame in frames])
    all_frames, total = np.concatenate(frames, axis=1), np.zeros((width, width))
    for start in range(0, len(entries), _CHUNK):
        own = masks[start : start + _CHUNK]
        own = own / np.sqrt(np.maximum(own.sum(1), 1))[:, None]
        block = (entries[start : start + _CHUNK] @ all_frames) * own[:, owner]
        total += block.T @ block
    return total


def _smallest(
    entries: np.ndarray, masks: np.ndarray, frames: list[np.ndarray], values: np.ndarray, vectors: np.ndarray
) -> float:
    """The smallest singular value of the conditions beside those of the model, over the largest.

    By inverse iterations, through the eigenvectors of W^T D^-1 W, from the direction that is worst over what is seen of it;
    the largest is known where enough entries are seen most often.
    """
    splits = np.cumsum([frame.shape[1] for frame in frames])[:-1]
    seen, null = masks.sum(1), 1 - values < FLOOR**2
    weights = np.where(seen > 0, 1 / np.maximum(seen, 1), 0.0)
    inverse = vectors[:, ~null] / (1 - values[~null])

    def transposed(x: np.ndarray) -> np.ndarray:
        inner = entries.T @ (masks * x[:, None])
        return np.concatenate([frame.T @ inner[:, g] for g, frame in enumerate(frames)])

    def expanded(c: np.ndarray) -> np.ndarray:
        codes = np.stack([frame @ part for frame, part in zip(frames, np.split(c, splits), strict=True)], 1)
        return (masks * (entries @ codes)).sum(1)

    def forward(x: np.ndarray) -> np.ndarray:
        return seen * x - expanded(transposed(x))

    def backward(x: np.ndarray) -> np.ndarray:
        return weights * (x + expanded(inverse @ (vectors[:, ~null].T @ transposed(weights * x))))

    def outside(x: np.ndarray) -> np.ndarray:
        return x - entries @ (entries.T @ x)

    def reached(apply: Callable[[np.ndarray], np.ndarray], x: np.ndarray, steps: int) -> float:
        norm = 0.0
        for _ in range(steps):
            x = outside(apply(x / np.linalg.norm(x)))
            previous, norm = norm, float(np.linalg.norm(x))
            if abs(norm - previous) <= 2e-4 * norm:
                break
        return norm

    most = seen.max()
    start = np.random.default_rng(0).standard_normal(len(entries)) * (seen > 0)
    if (~null).any():
        worst = weights * expanded(vectors[:, ~null][:, -1])
        start = worst / np.linalg.norm(worst) + 0.3 * start / np.linalg.norm(start)
    largest = most if (seen == most).sum() > len(values) else reached(forward, outside(start), 60)
    smallest = reached(backward, outside(start), 40)
    return math.sqrt(1 / (largest * smallest)) if largest and smallest else math.nan
