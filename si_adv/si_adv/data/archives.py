"""Data sets that are one npz of all clouds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from shared_utils import UserError
from si_adv.data.dataset import CloudDataset
from si_adv.data.files import array_names, holds_attack, open_arrays, says_frame
from si_adv.data.sample import SPLITS, Geometry

# fmt: off
MODELNET40 = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup", "curtain",
    "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop", "mantel", "monitor",
    "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa", "stairs", "stool", "table", "tent",
    "toilet", "tv_stand", "vase", "wardrobe", "xbox",
)
# fmt: on


class _NpzDataset(CloudDataset):
    """One npz file with ``<split>_<suffix>`` arrays of all clouds."""

    suffix: ClassVar[str]

    @classmethod
    def matches(cls, root: Path) -> bool:
        if root.suffix != ".npz" or not root.is_file():
            return False
        return any(f"{split}_{cls.suffix}" in array_names(root) for split in SPLITS)

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
        if self._points.dtype.kind not in "fiu":
            raise UserError(
                f"{self.root}: {self.split}_{self.suffix} holds {self._points.dtype}, which is no coordinate"
            )
        self._framed = says_frame(arrays)
        self._normals = arrays.get(f"{self.split}_normals")
        if self._normals is None and self._points.shape[2] >= 6:
            self._normals = self._points[..., 3:6]
        targets = arrays.get("target_label")
        # IF-Defense keeps the targets of its attacks beside the test clouds.
        self.targets = targets.reshape(-1) if targets is not None and self.split == "test" else None
        numbered = [arrays[key] for key in arrays if key.endswith("_label") and arrays[key].dtype.kind in "fiub"]
        highest = max((int(each.max(initial=0)) for each in numbered if np.isfinite(each).all()), default=0)
        if "class_names" in arrays:
            self.class_names = tuple(str(name) for name in arrays["class_names"])
        else:
            self.class_names = (
                MODELNET40 if highest == 39 else tuple(f"class_{number}" for number in range(highest + 1))
            )
        names = arrays.get(f"{self.split}_name")
        self.names = [f"{self.split}_{i:05d}" for i in range(len(self.labels))] if names is None else names.tolist()

    def _read(self, index: int) -> Geometry:
        def floats(rows: np.ndarray) -> np.ndarray:
            # Integers are coordinates in units of the largest int16.
            return rows / 32767.0 if rows.dtype.kind == "i" else rows

        normals = None if self._normals is None else floats(self._normals[index])
        return Geometry(floats(self._points[index, :, :3]), normals, framed=self._framed)


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


class AttackedClouds(CloudDataset):
    """What ``attack.py`` saves: the adversarial clouds as a test split, in the frame that the victim saw them in."""

    title, looked_for = "attacked clouds, an npz of attack.py", "adv, clean, label and name"
    obtained = "in the folder clouds of its results"
    splits = ("test",)

    @classmethod
    def matches(cls, root: Path) -> bool:
        return root.is_file() and holds_attack(root)

    def _open(self) -> None:
        self._check_split()
        arrays = open_arrays(self.root)
        self._adv, self.labels, self.names = arrays["adv"], arrays["label"], arrays["name"].tolist()
        counts = {len(self._adv), len(self.labels), len(self.names)}
        if self._adv.ndim != 3 or self._adv.shape[2] != 3 or self._adv.dtype.kind != "f" or len(counts) > 1:
            raise UserError(f"{self.root}: 'adv' has shape {self._adv.shape} for {len(self.labels)} labels")
        highest = int(self.labels.max(initial=0))
        named = arrays["class_names"] if "class_names" in arrays else [f"class_{n}" for n in range(highest + 1)]
        self.class_names = tuple(str(name) for name in named)

    def _read(self, index: int) -> Geometry:
        return Geometry(self._adv[index], framed=True)
