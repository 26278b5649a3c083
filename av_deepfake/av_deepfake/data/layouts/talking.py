"""Talking faces without labels: the trees of LRW and VoxCeleb2, or any folder of videos (LRS2 and LRS3 are such)."""

from __future__ import annotations

from pathlib import Path

from av_deepfake.data.layouts.finding import videos_below
from av_deepfake.preprocessing.folder import videos_of
from shared_utils import UserError


def talking(
    data: str | Path, split: str = "train", limit: int | None = None, leave_out: str | Path | None = None
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Talking videos by their names relative to the folder, and the files with the sound of those that have one beside them.

    ``lipread_mp4/WORD/{train,val,test}/WORD_00001.mp4`` (LRW, only ``split``), ``dev/mp4/<id>/<youtube>/<n>.mp4`` with
    ``dev/aac/.../<n>.m4a`` (VoxCeleb2), otherwise as ``videos_of``.

    Args:
        data: a video, or the folder.
        split: of LRW.
        limit: at most so many.
        leave_out: a folder below it that holds none: where the results go.

    Raises:
        UserError: there is no video.
    """
    root = Path(data)
    if (root / "lipread_mp4").is_dir():
        found, name = sorted((root / "lipread_mp4").glob(f"*/{split}/*.mp4")), f"LRW, split {split}"
    elif (root / "dev" / "mp4").is_dir():
        found, name = videos_below(root / "dev" / "mp4"), "VoxCeleb2"
    else:
        return videos_of(root, limit, leave_out), {}
    if limit is not None and limit < 1:
        raise UserError(f"--limit must be at least 1, got {limit}")
    if not found:
        raise UserError(f"{data} has the folders of {name}, and no video in them: check the path")
    videos = {path.relative_to(root).as_posix(): path for path in found[:limit]}
    beside = {name: sound for name in videos if (sound := _beside(root, name)) is not None}
    return videos, beside


def _beside(root: Path, name: str) -> Path | None:
    """VoxCeleb2's sound, in a tree of its own."""
    parts = Path(name).parts
    if "mp4" not in parts[:-1]:
        return None
    sound = root.joinpath(*("aac" if part == "mp4" else part for part in parts)).with_suffix(".m4a")
    return sound if sound.is_file() else None
