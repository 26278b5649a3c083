"""CrowdHuman: single images with whole (full) boxes, each a video of one frame."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mot_occlusion.data.mot import Video
from shared_utils import UserError

LAYOUT = "<root>/{annotation_train.odgt, annotation_val.odgt, images/{train,val}/<ID>.jpg}"


def annotation_file(root: str | Path, split: str) -> Path:
    return Path(root) / f"annotation_{split}.odgt"


def read_crowdhuman(root: str | Path, split: str = "train") -> list[Video]:
    """The images of a split; people alone, without those marked to be ignored. Visibility: visible over whole area.

    Raises UserError naming the file, the line and the layout.
    """
    path = annotation_file(root, split)
    if not path.is_file():
        raise UserError(f"{path} not found: expected {LAYOUT}")
    folders = [Path(root) / name for name in (f"images/{split}", "images", f"Images/{split}", "Images")]
    folder = next((folder for folder in folders if any(folder.glob("*.jpg"))), None)
    if folder is None:
        raise UserError(f"no image in {folders[0]}: expected {LAYOUT}")
    videos = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            people = [
                box
                for box in record["gtboxes"]
                if box.get("tag", "person") == "person" and not box.get("extra", {}).get("ignore", 0)
            ]
            boxes = np.array([box["fbox"] for box in people], np.float32).reshape(-1, 4)
            seen = np.array([box.get("vbox", box["fbox"]) for box in people], np.float32).reshape(-1, 4)
            name = str(record["ID"])
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}, line {number}: not a record with ID and gtboxes ({error}): get it again"
            ) from None
        image = folder / f"{name}.jpg"
        if image.is_file():
            share = np.prod(seen[:, 2:], axis=1) / np.maximum(np.prod(boxes[:, 2:], axis=1), 1e-6)
            videos.append(Video(name, [image], [boxes], [np.clip(share, 0, 1)]))
    if not videos:
        raise UserError(f"none of the images that {path} names is in {folder}: expected {LAYOUT}")
    return videos
