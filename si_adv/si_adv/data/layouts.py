"""Data sets on disk, in the layouts that the community has them in, recognised from the path itself.

Every layout is a ``CloudDataset`` of ``Sample``; ``open_dataset`` finds the right one, or the procedural shapes where
there is no path.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from shared_utils import UserError
from si_adv.data.archives import AttackedClouds, IFDefenseNpz, PackedNpz
from si_adv.data.dataset import DEFAULT_CACHE, CachedDataset, CloudDataset
from si_adv.data.files import CLOUD_SUFFIXES, read_geometry
from si_adv.data.hdf5 import ModelNetHDF5, ScanObjectNN
from si_adv.data.procedural import NOISE, ProceduralShapes
from si_adv.data.sample import SPLITS, Geometry, normalise, sample_geometry


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

    def _read(self, index: int) -> Geometry:
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

    def _read(self, index: int) -> Geometry:
        cloud = self._columns(self.paths[index], None)
        rng = np.random.default_rng((self.seed, zlib.crc32(self.names[index].encode())))
        rows = rng.permutation(len(cloud.points))[: self.num_points]
        return Geometry(cloud.points[rows], None if cloud.normals is None else cloud.normals[rows])


class MeshFolder(CachedDataset):
    """Meshes or clouds in ``<class>/{train,test}/``; files right in the class folder are taken for the test split.

    Meshes (OFF, OBJ, STL, PLY with faces) are sampled by area from (seed, class/file), with the normals of their faces.
    """

    title = "a folder of shapes per class"
    looked_for = "<class>/{train,test}/*.{off,obj,ply,stl,pcd,xyz,pts,csv,txt,npy,npz}"
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

    def _read(self, index: int) -> Geometry:
        return self._sampled(index, read_geometry(self.paths[index]))

    def _sampled(self, index: int, geometry: Geometry) -> Geometry:
        path = self.paths[index]
        key = f"{self.class_names[self.labels[index]]}/{path.name}"
        rng = np.random.default_rng((self.seed, zlib.crc32(key.encode())))
        return sample_geometry(geometry, self.num_points, rng, str(path))

    def surface(self, index: int) -> np.ndarray | None:
        mesh = read_geometry(self.paths[index])
        if mesh.faces is None:
            return None
        _, centre, radius = normalise(self._sampled(index, mesh).points)
        return (mesh.points[mesh.faces] - centre) / radius


#: The folder of classes, which nearly anything resembles, comes last.
LAYOUTS: tuple[type[CloudDataset], ...] = (
    ModelNetText,
    ShapeNetPart,
    ModelNetHDF5,
    ScanObjectNN,
    IFDefenseNpz,
    PackedNpz,
    AttackedClouds,
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
    procedural_noise: float = NOISE,
) -> CloudDataset | ProceduralShapes:
    """The clouds of one split of the data set at ``root``, whatever its layout. Other arguments: see ``CloudDataset``.

    Args:
        root: the folder or file; None: ``procedural_size`` clouds of ``ProceduralShapes`` with ``procedural_noise``, which
            bring their normals.

    Raises:
        UserError: an unknown layout, a split that the layout lacks, and whatever cannot be read.
    """
    if root is None:
        return ProceduralShapes(split, procedural_size, num_points, seed, procedural_noise)
    layout = recognise(root)
    return layout(Path(root).expanduser(), split, num_points, normals, seed, allow_upsample, skip_corrupt, cache_dir)
