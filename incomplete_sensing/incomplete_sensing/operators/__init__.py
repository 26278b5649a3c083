"""Families of linear operators A_1 ... A_G with their adjoints and pseudo-inverses, addressed per sample."""

from incomplete_sensing.operators.base import OperatorFamily, duplicates
from incomplete_sensing.operators.callables import CallableOperators
from incomplete_sensing.operators.dense import DenseOperators
from incomplete_sensing.operators.draw import OperatorOptions, draw_operators, fastmri_column_mask
from incomplete_sensing.operators.files import read_operators, write_operators
from incomplete_sensing.operators.least_squares import cgls
from incomplete_sensing.operators.masks import MaskOperators
from incomplete_sensing.operators.moved import MovedOperators
from incomplete_sensing.operators.mri import MRIOperators, MultiCoilMRIOperators, estimate_coil_maps
from incomplete_sensing.operators.published import read_published_operators
from incomplete_sensing.operators.stored import FAMILIES, empty_family
from incomplete_sensing.operators.tomography import TomographyOperators

__all__ = [
    "FAMILIES",
    "CallableOperators",
    "DenseOperators",
    "MRIOperators",
    "MaskOperators",
    "MovedOperators",
    "MultiCoilMRIOperators",
    "OperatorFamily",
    "OperatorOptions",
    "TomographyOperators",
    "cgls",
    "draw_operators",
    "duplicates",
    "empty_family",
    "estimate_coil_maps",
    "fastmri_column_mask",
    "read_operators",
    "read_published_operators",
    "write_operators",
]
