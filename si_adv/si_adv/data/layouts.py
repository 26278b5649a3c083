"""Data sets on disk, in the layouts that the community has them in, recognised from the path itself.

Every layout is a ``CloudDataset`` of ``Sample``; ``open_dataset`` finds the right one, or the procedural shapes where
there is no path.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from shared_utils import UserError
from si_adv.data.dataset import DEFAULT_CACHE, CachedDataset, CloudDataset
from si_adv.data.files import CLOUD_SUFFIXES, open_arrays, read_geometry
from si_adv.data.procedural import ProceduralShapes
from si_adv.data.sample import SPLITS, sample_geometry

if TYPE_CHECKING:
    import h5py

# fmt: off
MODELNET40 = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain",
    "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa", "stairs", "stool", "table", "tent",
    "toilet", "tv_stand", "vase", "wardrobe", "xbox",
)
# fmt: on


class ModelNetText(CachedDataset):
    """``modelnet40_normal_resampled``: a text file of 10,000 rows ``x,y,z,nx,ny,nz`` a shape.

    The archive also lists ModelNet10; give ``root/modelnet10_shape_names.txt`` as the root to have that one.
    """

    title = "modelnet40_normal_resampled"
    looked_for = "modelnet40_shape_names.txt, modelnet40_{train,test}.txt and <class>/<id>.txt"
    obtained = "from https://shapenet.cs.stanford.edu/media/modelnet40_normal_resampled.zip"

    @staticmethod
    def _names_file(root: Path) -> Path | None:
        if root.is_file():
            return root if root.name.endswith("_shape_names.txt") else None
        return next(
            (path for number in (40, 10) if (path := root / f"modelnet{number}_shape_names.txt").is_file()), None
        )

    @classmethod
    def matches(cls, root: Path) -> bool:
        return cls._names_file(root) is not None

    def _open(self) -> None:
        self._check_split()
        names = self._names_file(self.root) or self._need(self.root / "modelnet40_shape_names.txt")
        prefix = names.name.removesuffix("_shape_names.txt")
        listed = self._need(names.with_name(f"{prefix}_{self.split}.txt"))
        self.class_names = tuple(names.read_text().split())
        self.names = listed.read_text().split()
        index = {name: number for number, name in enumerate(self.class_names)}
        classes = [name.rpartition("_")[0] for name in self.names]
        for number, name in enumerate(classes, 1):
            if name not in index:
                raise UserError(f"{listed}, entry {number}: class {name!r} is not in {names.name}")
        self.labels = np.array([index[name] for name in classes])
        self.paths = [names.parent / kind / f"{name}.txt" for kind, name in zip(classes, self.names, strict=True)]

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        return self._columns(self.paths[index], self.num_points)


class ShapeNetPart(CachedDataset):
    """The part-annotated ShapeNet as classification of 16 categories; rows ``x y z nx ny nz part``.

    N rows are drawn without replacement from (seed, token), so a cloud is the same in every run.
    """

    title = "shapenetcore_partanno_segmentation_benchmark_v0_normal"
    looked_for = (
        "synsetoffset2category.txt, train_test_split/shuffled_{train,val,test}_file_list.json and <synset>/<token>.txt"
    )
    obtained = (
        "from https://shapenet.cs.stanford.edu/media/shapenetcore_partanno_segmentation_benchmark_v0_normal.zip "
        "(the archive with normals)"
    )

    splits = SPLITS

    @classmethod
    def matches(cls, root: Path) -> bool:
        return (root / "synsetoffset2category.txt").is_file()

    def _open(self) -> None:
        self._check_split()
        rows = [
            line.split() for line in (self.root / "synsetoffset2category.txt").read_text().splitlines() if line.strip()
        ]
        if any(len(row) != 2 for row in rows):
            raise UserError(f"{self.root / 'synsetoffset2category.txt'}: every line is a name and a synset")
        self.class_names = tuple(name for name, _ in rows)
        index = {synset: number for number, (_, synset) in enumerate(rows)}
        listed = self._need(self.root / "train_test_split" / f"shuffled_{self.split}_file_list.json")
        try:
            entries = [entry.split("/")[-2:] for entry in json.loads(listed.read_text())]
            self.labels = np.array([index[synset] for synset, _ in entries])
        except (ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{listed} is not a list of shape_data/<synset>/<token> ({error!r})") from None
        self.names = [token for _, token in entries]
        self.paths = [self.root / synset / f"{token}.txt" for synset, token in entries]

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        points, normals = self._columns(self.paths[index], None)
        rng = np.random.default_rng((self.seed, zlib.crc32(self.names[index].encode())))
        rows = rng.permutation(len(points))[: self.num_points]
        return points[rows], None if normals is None else normals[rows]


class MeshFolder(CachedDataset):
    """Meshes or clouds in ``<class>/{train,test}/``; files right in the class folder are taken for the test split.

    Meshes (OFF, OBJ, PLY with faces) are sampled by area from (seed, class/file), with the normals of their faces.
    """

    title = "a folder of shapes per class"
    looked_for = "<class>/{train,test}/*.{off,obj,ply,xyz,pts,txt,npy,npz}"
    obtained = "such as ModelNet's own archives from https://modelnet.cs.princeton.edu"

    @classmethod
    def matches(cls, root: Path) -> bool:
        return root.is_dir() and bool(cls._classes(root))

    @staticmethod
    def _shapes(folder: Path) -> list[Path]:
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if path.suffix.lower() in CLOUD_SUFFIXES and not path.name.startswith("."))

    @classmethod
    def _classes(cls, root: Path) -> list[Path]:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        return [path for path in folders if any(cls._shapes(inner) for inner in (path, path / "train", path / "test"))]

    def _open(self) -> None:
        self._check_split()
        folders = self._classes(self.root)
        self.class_names = tuple(folder.name for folder in folders)
        self.paths, labels = [], []
        for label, folder in enumerate(folders):
            paths = self._shapes(folder / self.split) or (self._shapes(folder) if self.split == "test" else [])
            self.paths += paths
            labels += [label] * len(paths)
        self.labels = np.array(labels)
        self.names = [
            path.stem if path.stem.startswith(self.class_names[label]) else f"{self.class_names[label]}_{path.stem}"
            for path, label in zip(self.paths, labels, strict=True)
        ]

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        path = self.paths[index]
        key = f"{self.class_names[self.labels[index]]}/{path.name}"
        rng = np.random.default_rng((self.seed, zlib.crc32(key.encode())))
        return sample_geometry(read_geometry(path), self.num_points, rng, str(path))


class ModelNetHDF5(CloudDataset):
    """``modelnet40_ply_hdf5_2048``: HDF5 files of 2048 clouds; a file is read when one of its clouds is asked for."""

    title = "modelnet40_ply_hdf5_2048"
    looked_for = "ply_data_{train,test}*.h5 and shape_names.txt"
    obtained = "from https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip"

    @classmethod
    def matches(cls, root: Path) -> bool:
        return root.is_dir() and any((root / f"{split}_files.txt").is_file() for split in SPLITS) | any(
            root.glob("ply_data_*.h5")
        )

    def _open(self) -> None:
        import h5py

        self._check_split()
        listed = self.root / f"{self.split}_files.txt"
        if listed.is_file():
            files = [self._need(self.root / Path(line).name) for line in listed.read_text().split()]
        else:
            files = sorted(self.root.glob(f"ply_data_{self.split}*.h5"))
            if not files:
                self._need(self.root / f"ply_data_{self.split}0.h5")
        self.class_names = tuple(self._need(self.root / "shape_names.txt").read_text().split())
        labels, self._places = [], []
        for file in files:
            try:
                with h5py.File(file) as store:
                    rows = np.asarray(store["label"]).reshape(-1)
                    data = _stored(store, "data")
                    if data.ndim != 3 or len(data) != len(rows):
                        raise UserError(f"{file}: 'data' has shape {data.shape} for {len(rows)} labels")
            except (OSError, KeyError) as error:
                raise UserError(f"{file} is not a readable HDF5 file with 'data' and 'label' ({error})") from None
            labels.append(rows)
            self._places += [(file, row) for row in range(len(rows))]
        self.labels = np.concatenate(labels)
        self.names = [f"{file.stem}_{row:04d}" for file, row in self._places]
        self._blocks: dict[Path, tuple[np.ndarray, np.ndarray | None]] = {}

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
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
        return points[row, :, :3], None if normals is None else normals[row]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_blocks": {}}


def _stored(store: h5py.File, name: str) -> h5py.Dataset:
    """The array of this name; KeyError where the file holds none, or something else under it."""
    import h5py

    entry = store[name]
    if not isinstance(entry, h5py.Dataset):
        raise KeyError(f"{name!r} is not an array")
    return entry


class _NpzDataset(CloudDataset):
    """One npz file with ``<split>_<suffix>`` arrays of all clouds."""

    suffix: ClassVar[str]

    @classmethod
    def matches(cls, root: Path) -> bool:
        if root.suffix != ".npz" or not root.is_file():
            return False
        return any(f"{split}_{cls.suffix}" in _npz_names(root) for split in SPLITS)

    def _open(self) -> None:
        arrays = open_arrays(self.root)
        self.splits = tuple(split for split in SPLITS if f"{split}_{self.suffix}" in arrays)
        self._check_split()
        self._points = arrays[f"{self.split}_{self.suffix}"]
        if f"{self.split}_label" not in arrays:
            raise UserError(f"{self.root} has {self.split}_{self.suffix} and no {self.split}_label ({self.title})")
        self.labels = arrays[f"{self.split}_label"].reshape(-1)
        if self._points.ndim != 3 or self._points.shape[2] < 3 or len(self._points) != len(self.labels):
            raise UserError(
                f"{self.root}: {self.split}_{self.suffix} has shape {self._points.shape} for {len(self.labels)} labels; "
                "expected (clouds, points, 3)"
            )
        self._normals = arrays.get(f"{self.split}_normals")
        if self._normals is None and self._points.shape[2] >= 6:
            self._normals = self._points[..., 3:6]
        targets = arrays.get("target_label")
        # IF-Defense keeps the targets of its attacks beside the test clouds.
        self.targets = targets.reshape(-1) if targets is not None and self.split == "test" else None
        highest = max(int(arrays[key].max(initial=0)) for key in arrays if key.endswith("_label"))
        if "class_names" in arrays:
            self.class_names = tuple(str(name) for name in arrays["class_names"])
        else:
            self.class_names = (
                MODELNET40 if highest == 39 else tuple(f"class_{number}" for number in range(highest + 1))
            )
        names = arrays.get(f"{self.split}_name")
        self.names = [f"{self.split}_{i:05d}" for i in range(len(self.labels))] if names is None else names.tolist()

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        def floats(rows: np.ndarray) -> np.ndarray:
            # Integers are coordinates in units of the largest int16.
            return rows / 32767.0 if rows.dtype.kind == "i" else rows

        normals = None if self._normals is None else floats(self._normals[index])
        return floats(self._points[index, :, :3]), normals


class IFDefenseNpz(_NpzDataset):
    """``train_pc``, ``test_pc``, ``train_label``, ``test_label`` and at times ``target_label`` (attribute ``targets``)."""

    title, suffix = "the npz of IF-Defense", "pc"
    looked_for = "train_pc, train_label, test_pc, test_label"
    obtained = "from the links of https://github.com/Wuziyi616/IF-Defense"


class PackedNpz(_NpzDataset):
    """``{train,val,test}_points`` (int16 of value*32767, or float), ``_label``, ``class_names``; ``_name``, ``_normals``."""

    title, suffix = "one npz of all clouds", "points"
    looked_for = "{train,val,test}_points, {train,val,test}_label and class_names"
    obtained = "written with numpy.savez from any clouds"


def _npz_names(path: Path) -> list[str]:
    """The arrays of an npz by name, without reading them; none where the file is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []


#: The folder of classes, which nearly anything resembles, comes last.
LAYOUTS: tuple[type[CloudDataset], ...] = (
    ModelNetText,
    ShapeNetPart,
    ModelNetHDF5,
    IFDefenseNpz,
    PackedNpz,
    MeshFolder,
)


def recognise(root: str | Path) -> type[CloudDataset]:
    """The layout of a path. Raises UserError that lists what was looked for and where each data set comes from."""
    root = Path(root).expanduser()
    if not root.exists():
        raise UserError(f"{root} not found: it should be the folder, or the .npz, of a data set")
    # A folder of data sets looks like a folder of classes, so those above a data set are recognised first.
    for layouts in (LAYOUTS[:-1], LAYOUTS[-1:]):
        for layout in layouts:
            if layout.matches(root):
                return layout
        inside = sorted(root.iterdir()) if root.is_dir() else []
        inside = [path for path in inside if any(layout.matches(path) for layout in layouts)]
        if inside:
            raise UserError(f"{root} is the folder above a data set: did you mean {inside[0]}?")
    known = "; ".join(f"{layout.title}: {layout.looked_for}, {layout.obtained}" for layout in LAYOUTS)
    raise UserError(f"no known data set in {root}; looked for {known}")


def open_dataset(
    root: str | Path | None,
    split: str = "train",
    num_points: int = 1024,
    normals: bool = True,
    seed: int = 0,
    allow_upsample: bool = False,
    skip_corrupt: bool = False,
    cache_dir: str | Path | None = DEFAULT_CACHE,
    procedural_size: int = 1000,
) -> CloudDataset | ProceduralShapes:
    """The clouds of one split of the data set at ``root``, whatever its layout. Other arguments: see ``CloudDataset``.

    Args:
        root: the folder or file; None: ``procedural_size`` clouds of ``ProceduralShapes``, which bring their normals.

    Raises:
        UserError: an unknown layout, a split that the layout lacks, and whatever cannot be read.
    """
    if root is None:
        return ProceduralShapes(split, procedural_size, num_points, seed)
    layout = recognise(root)
    return layout(Path(root).expanduser(), split, num_points, normals, seed, allow_upsample, skip_corrupt, cache_dir)
