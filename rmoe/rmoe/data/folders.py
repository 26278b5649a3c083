"""Image and mask pairs in folders, with a class list: data of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from rmoe.data.files import IGNORE, IMAGE_ENDINGS, MASK_ENDINGS, LabelledImage, read_image, read_mask
from shared_utils import UserError, files

Split = str
_FOLDERS = {"train": ("train", "training"), "val": ("val", "validation", "valid"), "test": ("test", "testing")}
HELP = "expected {train,val}/{images,masks}, {images,masks}/{train,val} or {images,masks}; see rmoe/README.md"


class ClassList(NamedTuple):
    """``names`` in the order of the model's classes; ``table``: value in a mask -> class, or 255 for what is left out."""

    names: list[str]
    table: dict[int, int]


def class_list(path: Path, keep: Sequence[str] | None = None) -> ClassList:
    """Read the classes of masks.

    Args:
        path: ``classes.txt`` with a name a line, the values 0, 1, ... in that order; or ``classes.json``, {"value in the
            mask": "name"}, where values of one name are one class and the name ``ignore`` means no class.
        keep: the names that are classes, in this order; the others are ignored. None: all.

    Raises:
        UserError: the file is missing or not as described, or a name of ``keep`` is not in it.
    """
    if path.suffix == ".json":
        content = files.read_json(path, 'class list {"value": "name"}')
        if not isinstance(content, dict) or not all(str(value).isdigit() for value in content):
            raise UserError(f'{path} is not a class list: expected {{"value in the mask": "name", ...}}')
        named = {int(value): str(name) for value, name in content.items()}
    elif path.is_file():
        named = dict(enumerate(line.strip() for line in path.read_text().splitlines() if line.strip()))
    else:
        raise UserError(f"{path} not found: a name a line, the values 0, 1, ... of the masks in that order")
    known = list(dict.fromkeys(name for name in named.values() if name != "ignore"))
    names = known if keep is None else list(keep)
    if missing := [name for name in names if name not in known]:
        raise UserError(f"{path} has no class {missing[0]!r}: it has {', '.join(known[:8])}")
    if not names:
        raise UserError(f"{path} names no class")
    return ClassList(names, {value: names.index(name) if name in names else IGNORE for value, name in named.items()})


def relabel(values: np.ndarray, table: Mapping[int, int], source: Path | str) -> np.ndarray:
    """Values of a mask -> classes by the table; 255 stays 255 unless the table has it.

    Raises:
        UserError: a value is not in the table.
    """
    found = np.unique(values)
    new = np.empty(len(found), np.int64)
    for place, value in enumerate(found.tolist()):
        if value not in table and value != IGNORE:
            raise UserError(
                f"{source} has the value {value}, which no class has (values {min(table)} to {max(table)}): "
                "add it to the class list, as ignore where it is none"
            )
        new[place] = table.get(value, IGNORE)
    return new[np.searchsorted(found, values)]


class MaskFolder(Dataset):
    """Images with a mask each.

    Args:
        images: paths.
        masks: their masks, in the same order.
        table: value in a mask -> class, 255 for none.
    """

    def __init__(self, images: Sequence[Path], masks: Sequence[Path], table: Mapping[int, int]) -> None:
        self.images, self.masks, self.table = list(images), list(masks), dict(table)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> LabelledImage:
        path, mask = self.images[number], self.masks[number]
        image, label = read_image(path), relabel(read_mask(mask), self.table, mask)
        if label.shape != tuple(image.shape[1:]):
            raise UserError(f"{mask} is {label.shape[1]}x{label.shape[0]}, its image {image.shape[2]}x{image.shape[1]}")
        return LabelledImage(image, torch.from_numpy(label), str(path))


def pairs(images: Path, masks: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder and the mask of each: the same name, with or without ``_mask`` or ``_labelTrainIds``-like ends.

    Raises:
        UserError: a folder is missing or empty, or an image has no mask (it is named).
    """
    for folder in (images, masks):
        if not folder.is_dir():
            raise UserError(f"{folder} not found ({HELP})")
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS)
    if not found:
        raise UserError(f"{images} holds no image ({', '.join(IMAGE_ENDINGS)})")
    chosen = []
    for image in found:
        stem = masks / image.relative_to(images).with_suffix("")
        names = [stem.with_name(stem.name + end) for kind in MASK_ENDINGS for end in (kind, f"_mask{kind}")]
        mask = next((name for name in names if name.is_file()), None)
        if mask is None:
            raise UserError(f"{image} has no mask: expected {names[0]}")
        chosen.append(mask)
    return found, chosen


def find_split(root: Path, split: Split, images: str = "images", masks: str = "masks") -> tuple[list[Path], list[Path]]:
    """The pairs of a split in one of the layouts of ``HELP``; without split folders every tenth image is validation.

    Without a test folder the test split is the validation split.
    """
    for name in (*_FOLDERS[split], *(_FOLDERS["val"] if split == "test" else ())):
        for first, second in (((name, images), (name, masks)), ((images, name), (masks, name))):
            if root.joinpath(*first).is_dir():
                return pairs(root.joinpath(*first), root.joinpath(*second))
    if any(root.joinpath(*parts).is_dir() for name in _FOLDERS["train"] for parts in ((name, images), (images, name))):
        raise UserError(f"{root} has no folder for the split {split} ({HELP})")
    found, chosen = pairs(root / images, root / masks)
    if len(found) < 2:
        raise UserError(f"{root / images} holds one image: a training and a validation image are needed")
    held = set(range(0, len(found), 10))
    rows = [row for row in range(len(found)) if (row in held) == (split != "train")]
    return [found[row] for row in rows], [chosen[row] for row in rows]


def mask_folder(root: str | Path, split: Split, keep: Sequence[str] | None = None) -> tuple[MaskFolder, list[str]]:
    """The data set of a folder of one's own, and the names of its classes.

    Args:
        root: holds the pairs and ``classes.txt`` or ``classes.json``.
        split: ``train``, ``val`` or ``test``.
        keep: see ``class_list``.
    """
    root = Path(root)
    listed = root / "classes.json"
    classes = class_list(listed if listed.is_file() else root / "classes.txt", keep)
    return MaskFolder(*find_split(root, split), classes.table), classes.names
