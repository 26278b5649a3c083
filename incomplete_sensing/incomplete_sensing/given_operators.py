"""A family of operators as the direct tests of ``identifiability`` take it: masks as masks, small ones as matrices."""

from __future__ import annotations

import copy

import numpy as np
import torch

from incomplete_sensing.identifiability import FunctionOperators, Given, MatrixOperators, SelectingOperators
from incomplete_sensing.operators import MaskOperators, MRIOperators, MultiCoilMRIOperators, OperatorFamily
from shared_utils import UserError

MATRIX_LIMIT = 2**25
"""Entries of operators, and of their orbits, that are tested as matrices; beyond it they stay functions."""
WIDTH_LIMIT = 1600


def given_operators(family: OperatorFamily, real_signals: bool = False) -> Given:
    """What the direct tests know of a family, over the reals.

    Args:
        family: masks of pixels or of k-space are tested exactly at any size, others as matrices where these are small
            enough, else by conjugate gradients.
        real_signals: of complex images only the real part is there (MRI of magnitudes): n is H W instead of 2 H W.

    Raises:
        UserError: real_signals for operators on real images.
    """
    complex_images = isinstance(family, (MRIOperators, MultiCoilMRIOperators))
    if real_signals and not complex_images:
        raise UserError(
            f"real_signals is for operators on complex images, these ({family.kind}) take real ones already"
        )
    if isinstance(family, (MaskOperators, MRIOperators)):
        masks = torch.cat([family.observed(g) for g in range(family.num_operators)]).cpu().numpy() > 0
        if isinstance(family, MaskOperators):
            kept = np.broadcast_to(masks, (len(masks), *family.image_shape))
            return SelectingOperators(kept.reshape(len(kept), -1).copy(), family.image_shape)
        sides = family.image_shape[1:]
        kept = np.broadcast_to(masks[:, 0], (len(masks), *sides)).reshape(len(masks), -1).copy()
        return SelectingOperators(kept, sides if real_signals else family.image_shape, fourier=True)
    n = family.num_pixels
    matrices = family.as_matrices(MATRIX_LIMIT) if n <= WIDTH_LIMIT else None
    if matrices is not None:
        # The first channel is the real part.
        columns = n // 2 if real_signals else n
        return MatrixOperators([matrix.numpy()[:, :columns] for matrix in matrices])
    return _functions(family, real_signals)


@torch.no_grad()
def _functions(family: OperatorFamily, real_signals: bool) -> FunctionOperators:
    precise = copy.deepcopy(family).double()
    n = family.num_pixels // (2 if real_signals else 1)

    def forward(x: np.ndarray, g: int) -> np.ndarray:
        if not x.shape[1]:
            return np.zeros((int(np.prod(family.measurement_shape)), 0))
        signals = np.concatenate([x, np.zeros_like(x)]) if real_signals else x
        images = torch.from_numpy(np.ascontiguousarray(signals.T)).reshape(-1, *family.image_shape)
        with torch.no_grad():
            return (precise(images, g) * precise.observed(g)).flatten(1).double().numpy().T

    def adjoint(y: np.ndarray, g: int) -> np.ndarray:
        values = torch.from_numpy(np.ascontiguousarray(y.T)).reshape(-1, *family.measurement_shape)
        with torch.no_grad():
            return precise.adjoint(values * precise.observed(g), g).flatten(1).double().numpy().T[:n]

    pairs = [(lambda x, g=g: forward(x, g), lambda y, g=g: adjoint(y, g)) for g in range(family.num_operators)]
    counts = [min(int(count), n) for count in family.num_measurements]
    eps = torch.finfo(precise.dtype).eps
    return FunctionOperators(pairs, n, counts, eps=eps)
