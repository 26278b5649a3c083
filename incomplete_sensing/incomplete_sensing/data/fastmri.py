"""fastMRI: h5 volumes, or the one tensor of magnitudes that the published code reads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.data.images import ComplexImages, ImageSource, TensorImages, centre_crop
from incomplete_sensing.operators.mri import estimate_coil_maps, ifft2c, to_real
from incomplete_sensing.torch_files import read_published
from shared_utils import UserError

if TYPE_CHECKING:
    import h5py

log = logging.getLogger(__name__)
TRAINING_SLICES = 900


def open_fastmri(path: Path, size: int) -> tuple[ImageSource, ImageSource]:
    """(training, test) complex images (2, size, size).

    A ``.pt`` or ``.npy`` file of magnitudes (N, H, W): the first 900 train, the rest test, zero imaginary part; with
    973 slices of 320 x 320 as published. Fewer than 1000: nine tenths. A folder: ``*train*/*.h5`` and ``*val*/*.h5`` or
    ``*test*/*.h5`` (fastMRI's ``singlecoil_train``, ``singlecoil_val``), or one folder of volumes, the last tenth test.
    A ``.h5`` file: its slices, the last tenth test.
    """
    if path.is_file() and path.suffix in (".pt", ".pth", ".npy"):
        return _from_tensor(path, size)
    if path.is_file():
        whole = FastMRIVolumes([path], size)
        cut = min(max(1, round(0.9 * len(whole))), max(1, len(whole) - 1))
        return whole.part(range(cut)), whole.part(range(cut, len(whole)))
    train = sorted(path.glob("*train*/*.h5"))
    test = sorted(path.glob("*val*/*.h5")) or sorted(path.glob("*test*/*.h5"))
    if not train or not test:
        files = sorted(path.glob("*.h5"))
        if len(files) < 2:
            raise UserError(
                f"{path}: no fastMRI volumes; expected singlecoil_train/*.h5 and singlecoil_val/*.h5, or at least two"
                " .h5 files (https://fastmri.med.nyu.edu gives access)"
            )
        cut = min(max(1, round(0.9 * len(files))), len(files) - 1)
        train, test = files[:cut], files[cut:]
    return FastMRIVolumes(train, size), FastMRIVolumes(test, size)


def _from_tensor(path: Path, size: int) -> tuple[ImageSource, ImageSource]:
    if path.suffix == ".npy":
        slices = torch.from_numpy(np.load(path, allow_pickle=False)).float()
    else:
        loaded = read_published(path)
        if not isinstance(loaded, Tensor):
            raise UserError(f"{path} holds a {type(loaded).__name__}: expected one tensor of magnitudes (N, H, W)")
        slices = loaded.float()
    slices = slices.squeeze()
    if slices.ndim != 3 or len(slices) < 2:
        raise UserError(
            f"{path} has shape {tuple(slices.shape)}: expected magnitudes (N, H, W), as published (973, 320, 320)"
        )
    if not bool(torch.isfinite(slices).all()):
        raise UserError(f"{path} holds NaN or infinite values")
    slices = centre_crop(slices, (min(size, slices.shape[1]), min(size, slices.shape[2])))[:, None]
    cut = TRAINING_SLICES if len(slices) > TRAINING_SLICES else min(round(0.9 * len(slices)), len(slices) - 1)
    return ComplexImages(TensorImages(slices[:cut])), ComplexImages(TensorImages(slices[cut:]))


class FastMRIVolumes:
    """Slices of volumes as complex images, read as they are asked for: the middle of F^-1 ``kspace``.

    The coils of a multi-coil volume are combined, sum_c conj(map_c) F^-1 k_c, with maps from each slice's own centre.
    Each volume is divided by the largest magnitude of its images. A volume that cannot be read is an error; in training
    it is named, counted and skipped.
    """

    in_memory = False

    def __init__(self, files: Sequence[Path], size: int) -> None:
        self.size = size
        self.files = list(files)
        self.slices: list[tuple[Path, int]] = []
        self.scales: dict[Path, float] = {}
        self.corrupt: set[Path] = set()
        for file in self.files:
            self.slices += [(file, number) for number in range(_num_slices(file))]
        self.shape = (2, size, size)

    def part(self, numbers: Sequence[int]) -> FastMRIVolumes:
        """Only these slices."""
        chosen = FastMRIVolumes([], self.size)
        chosen.files, chosen.slices = self.files, [self.slices[number] for number in numbers]
        return chosen

    def __len__(self) -> int:
        return len(self.slices)

    def batch(self, numbers: Sequence[int] | Tensor, skip_corrupt: bool = False) -> tuple[Tensor, Tensor]:
        images, kept = [], []
        for position, number in enumerate(torch.as_tensor(numbers).tolist()):
            file, index = self.slices[number]
            try:
                images.append(self._read(file, index))
                kept.append(position)
            except UserError as error:
                if not skip_corrupt:
                    raise
                if file not in self.corrupt:
                    self.corrupt.add(file)
                    log.warning("skipped, %d volumes so far: %s", len(self.corrupt), error)
        stacked = torch.stack(images) if images else torch.zeros(0, *self.shape)
        return stacked, torch.tensor(kept, dtype=torch.long)

    def _read(self, file: Path, index: int) -> Tensor:
        import h5py

        try:
            with h5py.File(file, "r") as volume:
                if file not in self.scales:
                    self.scales[file] = _peak(volume)
                image = complex_image(_k_space(volume, file)[index])
        except (OSError, KeyError) as error:
            raise UserError(f"{file} cannot be read as a fastMRI volume ({error})") from error
        return to_real(centre_crop(image, (self.size, self.size), str(file))[None])[0] / self.scales[file]


def _num_slices(file: Path) -> int:
    import h5py

    try:
        with h5py.File(file, "r") as volume:
            if "kspace" not in volume:
                raise UserError(f"{file} has no dataset kspace (it has {', '.join(volume)}): expected fastMRI's h5")
            shape = _k_space(volume, file).shape
    except OSError as error:
        raise UserError(f"{file} cannot be read as a fastMRI volume ({error})") from error
    if len(shape) not in (3, 4):
        raise UserError(
            f"{file}: kspace has shape {shape}, expected (slices, H, W) or, of several coils, (slices, coils, H, W)"
        )
    return shape[0]


def _k_space(volume: h5py.File, file: Path) -> h5py.Dataset:
    import h5py

    found = volume["kspace"]
    if not isinstance(found, h5py.Dataset):
        raise UserError(f"{file}: kspace is not a dataset: expected fastMRI's h5")
    return found


def complex_image(k_space: np.ndarray) -> Tensor:
    """The complex image (H, W) of a slice (H, W), or of its coils (coils, H, W), combined with maps from their centre."""
    values = torch.from_numpy(np.asarray(k_space, dtype=np.complex64))
    if values.ndim == 2:
        return ifft2c(values)
    return (estimate_coil_maps(values).conj() * ifft2c(values)).sum(0)


def read_multicoil_slice(path: Path, number: int | None = None) -> Tensor:
    """k-space (coils, H, W) of one slice of a multi-coil volume, the middle one where no number is given.

    Raises:
        UserError: the file is no multi-coil volume, or has no such slice.
    """
    import h5py

    slices = _num_slices(path)
    with h5py.File(path, "r") as volume:
        k_space = _k_space(volume, path)
        if k_space.ndim != 4:
            raise UserError(f"{path} is a single-coil volume: SENSE needs several coils (kspace (slices, coils, H, W))")
        place = slices // 2 if number is None else number
        if not 0 <= place < slices:
            raise UserError(f"{path} has no slice {place}: it has 0 .. {slices - 1}")
        return torch.from_numpy(np.asarray(k_space[place], dtype=np.complex64))


def _peak(volume) -> float:
    """The largest magnitude of a volume's images: of its reference reconstruction where it has one."""
    for name in ("reconstruction_esc", "reconstruction_rss"):
        if name in volume:
            return float(np.max(volume[name])) or 1.0
    return max(float(complex_image(k_space).abs().max()) for k_space in volume["kspace"]) or 1.0
