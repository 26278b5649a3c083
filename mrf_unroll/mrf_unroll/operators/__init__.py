"""The forward models, compressed time series (TSMI) to k-space, and their normal operators.

``SubspaceOperator`` computes A and A^H sample by sample; ``ToeplitzNormal`` computes A^H W A, which iterative methods
need. ``CartesianMaskOperator`` is the operator of the published PGD-Net.

A TSMI x is (B, s, H, W), real or complex. What a normal operator returns is of the kind of its argument: for a real x
it is Re(A^H W A x), the normal operator of A restricted to real images, which is self-adjoint again.
"""

from mrf_unroll.operators.cartesian import CartesianMaskOperator
from mrf_unroll.operators.scales import Normal, least_squares_scale, operator_norm
from mrf_unroll.operators.subspace import FrameOperator, SubspaceOperator
from mrf_unroll.operators.toeplitz import KernelCache, ToeplitzNormal, kernel_spectra

__all__ = [
    "CartesianMaskOperator",
    "FrameOperator",
    "KernelCache",
    "Normal",
    "SubspaceOperator",
    "ToeplitzNormal",
    "kernel_spectra",
    "least_squares_scale",
    "operator_norm",
]
