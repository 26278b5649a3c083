"""Talking faces without labels: LRW, LRS2 and LRS3, VoxCeleb2, or any tree of videos."""

from __future__ import annotations

from pathlib import Path

from av_deepfake.data.layouts.finding import is_video, videos_below
from av_deepfake.data.videos import REAL, Video, VideoSet
from shared_utils import UserError


def open_talking(root: Path, split: str = "train") -> VideoSet:
    """All talking videos of a tree.

    ``lipread_mp4/WORD/{train,val,test}/WORD_00001.mp4`` (LRW, only ``split``), ``main/<id>/<n>.mp4`` and ``pretrain/...`` (LRS2,
    LRS3), ``dev/mp4/<id>/<youtube>/<n>.mp4`` (VoxCeleb2, sound inside or beside it in ``aac``), otherwise every video below.

    Args:
        root: of the tree.
        split: of LRW.

    Raises:
        UserError: there is no video.
    """
    if not root.is_dir():
        raise UserError(f"{root} not found: give the folder of talking videos")
    if (root / "lipread_mp4").is_dir():
        found = sorted((root / "lipread_mp4").glob(f"*/{split}/*.mp4"))
        name = "LRW"
    elif (root / "dev" / "mp4").is_dir():
        found, name = videos_below(root / "dev" / "mp4"), "VoxCeleb2"
    elif (root / "main").is_dir() or (root / "pretrain").is_dir():
        found = [path for part in ("pretrain", "main") for path in videos_below(root / part)]
        name = "LRS"
    else:
        found, name = videos_below(root), root.name
    videos = [
        Video(path, REAL, "real", path.relative_to(root).with_suffix("").as_posix(), _sound(path, root))
        for path in found
        if is_video(path)
    ]
    return VideoSet(name, root, videos).checked(labelled=False)


def _sound(path: Path, root: Path) -> Path | None:
    """VoxCeleb2's sound where it lies in a tree of its own."""
    parts = path.relative_to(root).parts
    if "mp4" not in parts[:-1]:
        return None
    beside = root.joinpath(*("aac" if part == "mp4" else part for part in parts)).with_suffix(".m4a")
    return beside if beside.is_file() else None
