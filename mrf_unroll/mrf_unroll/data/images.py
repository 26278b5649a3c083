"""Maps for viewers: NIfTI (extra ``formats``: nibabel) and DICOM (pydicom), with their place in the patient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shared_utils import UserError, files

# DICOM keeps whole numbers; this many steps are spent on a map's range.
_STEPS = 32767
_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


def _package(name: str, kind: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"{kind} files need the package {name}: pip install 'tenpapers-mrf-unroll[formats]', or pip install {name}"
        ) from None


def check_packages(nifti: bool, dicom: bool) -> None:
    """Raise UserError where what is asked for cannot be written because a package is missing."""
    if nifti:
        _package("nibabel", "NIfTI")
    if dicom:
        _package("pydicom", "DICOM")


def write_nifti(path: str | Path, values: np.ndarray, affine: np.ndarray | None) -> None:
    """Write (S, H, W) as float32 (W, H, S); without ``affine`` (see ``geometry.affine``) in voxels, of no known place."""
    nibabel = _package("nibabel", "NIfTI")
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), affine, dtype=np.float32)
    if affine is not None:
        image.set_qform(affine, code="scanner")
        image.set_sform(affine, code="scanner")
        image.header.set_xyzt_units("mm")
    with files.replacing(path) as temporary:
        temporary.write_bytes(_gzipped(image.to_bytes()) if str(path).endswith(".gz") else image.to_bytes())


def _gzipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, compresslevel=6, mtime=0)


def write_dicom(
    folder: str | Path, maps: Mapping[str, np.ndarray], affine: np.ndarray, units: Mapping[str, str]
) -> None:
    """Write every map (S, H, W) as a series of single-frame MR images, ``T1_000.dcm``, ..., with slope and intercept.

    Args:
        maps: by name.
        affine: of the volume (``geometry.affine``); DICOM cannot do without a place.
        units: of the maps' values, for their descriptions.
    """
    pydicom = _package("pydicom", "DICOM")
    uid = pydicom.uid
    study, frame = uid.generate_uid(), uid.generate_uid()
    placed = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(placed[:3, :3], axis=0)
    axes = placed[:3, :3] / spacing
    for number, (name, values) in enumerate(maps.items(), start=1):
        series = uid.generate_uid()
        top = float(np.abs(values).max()) or 1.0
        stored = np.round(np.clip(values, 0, None) / top * _STEPS).astype(np.uint16)
        for place, pixels in enumerate(stored):
            meta = pydicom.dataset.FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = _MR_IMAGE, uid.generate_uid()
            meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            one = pydicom.Dataset()
            one.file_meta = meta
            one.SOPClassUID, one.SOPInstanceUID = _MR_IMAGE, meta.MediaStorageSOPInstanceUID
            one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
            one.Modality, one.PatientName, one.PatientID = "MR", "unknown", "unknown"
            one.PatientBirthDate = one.PatientSex = one.StudyDate = one.StudyTime = ""
            one.StudyID = one.AccessionNumber = one.ReferringPhysicianName = one.PositionReferenceIndicator = ""
            one.Manufacturer, one.ScanningSequence, one.SequenceVariant = "tenpapers mrf_unroll", "RM", "NONE"
            one.ScanOptions, one.MRAcquisitionType, one.EchoTime, one.EchoTrainLength = "", "2D", None, None
            one.ImageType = ["DERIVED", "PRIMARY", "QUANTITATIVE", name]
            one.SeriesDescription = f"{name} map [{units[name]}]" if units[name] else f"{name} map"
            one.SeriesNumber, one.InstanceNumber = number, place + 1
            one.Rows, one.Columns = pixels.shape
            one.PixelSpacing = _decimals((spacing[1], spacing[0]))
            one.SliceThickness = _decimals(spacing[2:])[0]
            one.ImageOrientationPatient = _decimals((*axes[:, 0], *axes[:, 1]))
            one.ImagePositionPatient = _decimals(placed[:3, 3] + place * placed[:3, 2])
            one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 0
            one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
            one.RescaleSlope, one.RescaleIntercept = f"{top / _STEPS:.10g}", "0"
            one.RescaleType = units[name] or "US"
            one.PixelData = pixels.tobytes()
            with files.replacing(Path(folder) / f"{name}_{place:03d}.dcm") as temporary:
                one.save_as(temporary, enforce_file_format=True)


def _decimals(values: Iterable[float]) -> list[str]:
    """Numbers as DICOM's decimal strings, which have 16 characters at most."""
    return [f"{float(value):.8g}" for value in values]
