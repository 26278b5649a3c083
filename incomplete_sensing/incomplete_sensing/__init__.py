"""Learning a signal model, and a reconstruction network, from incomplete linear measurements only.

from incomplete_sensing import OperatorOptions, assess, draw_operators
print(assess(n=784, m=100, G=40, k=12).verdict)
operators = draw_operators(OperatorOptions("gaussian", num_operators=40, num_measurements=100), (1, 28, 28))
"""

import importlib
from typing import Any

_HOMES = {
    "incomplete_sensing.deepinv_adapter": "PhysicsModel as_physics from_physics",
    "incomplete_sensing.dictionary": "learn_dictionary",
    "incomplete_sensing.dimension": "estimate_dimension mle_dimension two_nn_dimension",
    "incomplete_sensing.identifiability": "assess consistent_set equivariance_defect local_tests orbit",
    "incomplete_sensing.irreps": "Action Irreps named_action",
    "incomplete_sensing.losses": "Objective cross_operator draw_cross_operators equivariance measurement_consistency splitting "
    "supervised sure_gaussian sure_poisson sure_poisson_gaussian",
    "incomplete_sensing.metrics": "consistency_residual nmse psnr ssim",
    "incomplete_sensing.models": "MLP AutoEncoder UNet UnrolledProximalGradient",
    "incomplete_sensing.noise": "Noise",
    "incomplete_sensing.operators": "CallableOperators DenseOperators MRIOperators MaskOperators MultiCoilMRIOperators "
    "OperatorFamily OperatorOptions TomographyOperators draw_operators estimate_coil_maps read_operators write_operators",
    "incomplete_sensing.phase_transition": "Diagram sweep",
    "incomplete_sensing.published": "export_published import_published read_published_operators",
    "incomplete_sensing.reconstructor": "Reconstructor",
    "incomplete_sensing.solvers": "alternating_least_squares closed_form nuclear_norm",
    "incomplete_sensing.transforms": "GROUPS build_transform",
}
_PLACES = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that importing the package costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'incomplete_sensing' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
