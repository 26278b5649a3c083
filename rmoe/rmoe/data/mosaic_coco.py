"""The instance version of the mosaic on disk, in COCO's format, so that COCO's loader is what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rmoe.data.mosaic import Instance, Mosaic, Split
from shared_utils import files

CATEGORY_IDS_STEP = 3
"""Category ids are 1, 4, 7, ...: like COCO's own, they are not contiguous."""
_FOLDERS = {"train": "train2017", "val": "val2017", "test": "test2017"}


def write(mosaic: Mosaic, root: str | Path, counts: dict[Split, int]) -> Path:
    """Write images and annotations in the official layout.

    Args:
        mosaic: what is drawn.
        root: the folder; made where it is missing.
        counts: images of each split.

    Returns:
        The folder.
    """
    root, size = Path(root), mosaic.instance_size
    for split, count in counts.items():
        folder = place(root, split)[1]
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {"images": [], "annotations": [], "categories": categories(mosaic)}
        for number in range(count):
            pixels, instances = mosaic.instances(split, number)
            name = f"{number:06d}.png"
            Image.fromarray(pixels).save(folder / name)
            content["images"].append({"id": number + 1, "file_name": name, "height": size, "width": size})
            for instance in instances:
                entry = annotation(instance, len(content["annotations"]) + 1, number + 1)
                content["annotations"].append(entry)
        files.write_json(content, place(root, split)[0])
    return root


def place(root: str | Path, split: Split) -> tuple[Path, Path]:
    """(json, folder of images) of a split; unlike COCO itself, the mosaic has annotations of its test images."""
    return Path(root) / "annotations" / f"instances_{_FOLDERS[split]}.json", Path(root) / _FOLDERS[split]


def categories(mosaic: Mosaic) -> list[dict[str, Any]]:
    """The classes as COCO lists them."""
    return [{"id": 1 + CATEGORY_IDS_STEP * label, "name": f"class {label}"} for label in range(mosaic.classes)]


def annotation(instance: Instance, number: int, image: int) -> dict[str, Any]:
    """One object: a polygon where it is a whole rectangle, else an RLE of its pixels."""
    rows, columns = np.flatnonzero(instance.mask.any(1)), np.flatnonzero(instance.mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    width, height = int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
    area = int(instance.mask.sum())
    whole = area == width * height
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": number,
        "image_id": image,
        "category_id": 1 + CATEGORY_IDS_STEP * instance.label,
        "bbox": [x, y, width, height],
        "area": area,
        "iscrowd": 0,
        "segmentation": [corners] if whole else run_lengths(instance.mask),
    }


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """An uncompressed RLE: lengths of runs of 0 and 1 in turn, column after column, beginning with 0."""
    flat = np.concatenate([[0], mask.T.reshape(-1).astype(np.int8), [0]])
    changes = np.flatnonzero(np.diff(flat))
    edges = np.concatenate([[0], changes, [mask.size]])
    counts = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": counts if counts[-1] else counts[:-1]}
