"""Data sets in HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shared_utils import UserError
from si_adv.data.dataset import CloudDataset
from si_adv.data.sample import SPLITS, Geometry

if TYPE_CHECKING:
    import h5py


SCANOBJECTNN = (
    *("bag", "bin", "box", "cabinet", "chair", "desk", "display", "door"),
    *("shelf", "table", "bed", "pillow", "sink", "sofa", "toilet"),
)


class _HDF5Dataset(CloudDataset):
    """Files of ``data`` (n, points, 3) and ``label`` (n,), at times ``normal``; each is read when a cloud of it is asked for."""

    def _index(self, files: list[Path]) -> None:
        """Take the clouds of these files, in their order."""
        import h5py

        labels, self._places = [], []
        for file in files:
            try:
                with h5py.File(file) as store:
                    rows = np.asarray(store["label"]).reshape(-1)
                    data = _stored(store, "data")
                    if data.ndim != 3 or data.shape[2] < 3 or len(data) != len(rows) or data.dtype.kind not in "fiu":
                        raise UserError(f"{file}: 'data' has shape {data.shape} ({data.dtype}) for {len(rows)} labels")
            except (OSError, KeyError) as error:
                raise UserError(f"{file} is not a readable HDF5 file with 'data' and 'label' ({error})") from None
            labels.append(rows)
            self._places += [(file, row) for row in range(len(rows))]
        self.labels = np.concatenate(labels)
        self.names = [f"{file.stem}_{row:04d}" for file, row in self._places]
        self._blocks: dict[Path, tuple[np.ndarray, np.ndarray | None]] = {}

    def _read(self, index: int) -> Geometry:
        import h5py

        file, row = self._places[index]
        if file not in self._blocks:
            try:
                with h5py.File(file) as store:
                    normals = _stored(store, "normal")[:, : self.num_points] if "normal" in store else None
                    self._blocks[file] = _stored(store, "data")[:, : self.num_points], normals
            except (OSError, KeyError) as error:
                raise UserError(f"{file} is damaged ({error})") from None
        points, normals = self._blocks[file]
        return Geometry(points[row, :, :3], None if normals is None else normals[row])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_blocks": {}}


class ModelNetHDF5(_HDF5Dataset):
    """``modelnet40_ply_hdf5_2048``: HDF5 files of 2048 clouds."""

    title = "modelnet40_ply_hdf5_2048"
    looked_for = "ply_data_{train,test}*.h5 and shape_names.txt"
    obtained = "from https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip"

    @classmethod
    def matches(cls, root: Path) -> bool:
        return root.is_dir() and any((root / f"{split}_files.txt").is_file() for split in SPLITS) | any(
            root.glob("ply_data_*.h5")
        )

    def _open(self) -> None:
        self._check_split()
        listed = self.root / f"{self.split}_files.txt"
        if listed.is_file():
            files = [self._need(self.root / Path(line).name) for line in listed.read_text().split()]
        else:
            files = sorted(self.root.glob(f"ply_data_{self.split}*.h5"))
            if not files:
                self._need(self.root / f"ply_data_{self.split}0.h5")
        self.class_names = tuple(self._need(self.root / "shape_names.txt").read_text().split())
        self._index(files)


class ScanObjectNN(_HDF5Dataset):
    """ScanObjectNN, 15 classes of scanned objects: a folder with one variant of it, or either of its files.

    The masks of the files, which say what is background, are left out: the clouds are taken as they were scanned.
    """

    title = "ScanObjectNN"
    looked_for = "training_objectdataset*.h5 and test_objectdataset*.h5"
    obtained = "from https://hkust-vgd.github.io/scanobjectnn (h5_files.zip)"
    class_names = SCANOBJECTNN

    @classmethod
    def matches(cls, root: Path) -> bool:
        if root.is_file():
            return root.suffix == ".h5" and "_objectdataset" in root.name
        return any(root.glob("*_objectdataset*.h5"))

    def _open(self) -> None:
        self._check_split()
        prefix = {"train": "training", "test": "test"}[self.split]
        if self.root.is_file():
            variant = self.root.name.partition("_")[2]
            self._index([self._need(self.root.with_name(f"{prefix}_{variant}"))])
            return
        files = sorted(self.root.glob(f"{prefix}_objectdataset*.h5"))
        if len(files) > 1:
            raise UserError(f"{self.root} holds {len(files)} variants: give the file of one, such as {files[0]}")
        self._index(files or [self._need(self.root / f"{prefix}_objectdataset.h5")])


def _stored(store: h5py.File, name: str) -> h5py.Dataset:
    """The array of this name; KeyError where the file holds none, or something else under it."""
    import h5py

    entry = store[name]
    if not isinstance(entry, h5py.Dataset):
        raise KeyError(f"{name!r} is not an array")
    return entry
