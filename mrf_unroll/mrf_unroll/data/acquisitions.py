"""Whatever file a scan comes in, as its slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrf_unroll.data.geometry import affine
from mrf_unroll.data.ismrmrd_files import is_ismrmrd, read_ismrmrd
from mrf_unroll.data.scans import Scan, read_scans
from shared_utils import UserError


def read_acquisition(path: str | Path, seq: str | Path | None = None) -> list[Scan]:
    """The slices of ``scan.npz``, of HDF5 (``read_scans``) or of ISMRMRD (``read_ismrmrd``).

    Args:
        seq: a Pulseq file, of ISMRMRD.

    Raises:
        UserError: for a file that cannot be read, and for ``seq`` with a file that has its schedule inside.
    """
    if is_ismrmrd(path):
        return read_ismrmrd(path, seq)
    if seq is not None:
        raise UserError(f"{path} is not ISMRMRD and has its schedule and trajectory inside: leave --seq out")
    return read_scans(path)


def volume_affine(slices: Sequence[Scan], strict: bool = True) -> np.ndarray | None:
    """(4, 4), see ``geometry.affine``; None where the file does not say where its slices lie.

    Args:
        strict: raise UserError where they do not make one volume; None then otherwise.
    """
    places = [one.geometry for one in slices]
    known = [place for place in places if place is not None]
    if len(known) < len(places):
        return None
    try:
        return affine(known, slices[0].image_size)
    except UserError:
        if strict:
            raise
        return None
