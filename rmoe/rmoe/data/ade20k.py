"""ADE20K SceneParsing as it is distributed: ADEChallengeData2016 with images, annotations and objectInfo150.txt."""

from __future__ import annotations

from pathlib import Path

from rmoe.data.files import IGNORE
from rmoe.data.folders import MaskFolder, Split, pairs
from shared_utils import UserError

NUM_CLASSES = 150
# 0 is unlabelled; 1..150 are the classes. 255 was never assigned, and stays ignored.
TABLE = {0: IGNORE, **{value: value - 1 for value in range(1, NUM_CLASSES + 1)}}
_FOLDERS = {"train": "training", "val": "validation", "test": "validation"}
NAME = "ADEChallengeData2016"
WHERE = "get ADEChallengeData2016.zip from the MIT Scene Parsing Benchmark (data.csail.mit.edu/places/ADEchallenge)"


def find(root: str | Path) -> Path | None:
    """The folder that has images and annotations of training and validation: root or one below it; None where none."""
    candidates = [Path(root), Path(root) / NAME, Path(root) / "ade" / NAME]
    return next((path for path in candidates if (path / "annotations" / "validation").is_dir()), None)


def class_names(root: str | Path) -> list[str]:
    """The 150 names of ``objectInfo150.txt``, the first synonym of each; numbers where the file is not there."""
    path = (find(root) or Path(root)) / "objectInfo150.txt"
    if not path.is_file():
        return [f"class_{number}" for number in range(NUM_CLASSES)]
    rows = [line.rstrip("\n").split("\t") for line in path.read_text().splitlines()[1:] if line.strip()]
    names = [row[-1].split(",")[0].strip() for row in rows]
    if len(names) != NUM_CLASSES:
        raise UserError(f"{path} names {len(names)} classes instead of {NUM_CLASSES}: {WHERE}")
    return names


def ade20k(root: str | Path, split: Split) -> MaskFolder:
    """A split of ADE20K; test is validation.

    Raises:
        UserError: the layout is another one, or an image has no map.
    """
    folder = find(root)
    if folder is None:
        raise UserError(f"annotations/validation not found in {root} (the layout of {NAME}): {WHERE}")
    part = _FOLDERS[split]
    return MaskFolder(*pairs(folder / "images" / part, folder / "annotations" / part), TABLE)
