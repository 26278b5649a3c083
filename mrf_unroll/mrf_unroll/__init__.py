"""T1, T2 and proton density maps from undersampled magnetic resonance fingerprinting scans.

from mrf_unroll import Dictionary, Sequence, SubspaceOperator, ToeplitzNormal, jiang_like_fa, log_grid
sequence = Sequence.of(jiang_like_fa(200), tr_ms=12, te_ms=2, ti_ms=18)
dictionary = Dictionary.build(sequence, log_grid(100, 100), rank=10)
"""

import importlib
from typing import Any

_HOMES = {
    "mrf_unroll.classical": "conjugate_gradient lrtv pnp_admm tv_denoiser zero_filled",
    "mrf_unroll.coils": "compress_coils estimate_coil_maps gaussian_ring_maps",
    "mrf_unroll.dictionary": "Dictionary linear_grid log_grid",
    "mrf_unroll.epg": "fisp_atoms fisp_signal",
    "mrf_unroll.files": "read_maps read_pgdnet_data read_pgdnet_subspace read_scan write_maps write_scan",
    "mrf_unroll.data.phantoms": "head_phantom",
    "mrf_unroll.losses": "ProxNetLoss",
    "mrf_unroll.metrics": "data_consistency map_errors",
    "mrf_unroll.models": "BlochDecoder UnrolledNetwork build_encoder",
    "mrf_unroll.nufft": "Nufft",
    "mrf_unroll.operators": "CartesianMaskOperator FrameOperator SubspaceOperator ToeplitzNormal least_squares_scale "
    "operator_norm",
    "mrf_unroll.protocol": "Protocol ProtocolOptions",
    "mrf_unroll.published": "import_published",
    "mrf_unroll.reconstructor": "Reconstructor",
    "mrf_unroll.precision": "cramer_rao_bound",
    "mrf_unroll.schedules": "Sequence cao_like_fa jiang_like_fa ramp read_schedule",
    "mrf_unroll.simulation": "simulate_kspace tsmi",
    "mrf_unroll.trajectory": "epi_masks golden_angles golden_spiral gridded_spiral_masks mask_positions pipe_menon_dcf radial "
    "radial_dcf rotate spiral spiral_dcf",
}
_PLACES = {name: module for module, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that importing the package costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'mrf_unroll' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
