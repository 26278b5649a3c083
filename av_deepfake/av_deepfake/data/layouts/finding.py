"""Files of a layout, and lists that come with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from av_deepfake.data.videos import VIDEO_ENDINGS
from shared_utils import UserError

SPLITS = Path(__file__).parents[1] / "splits"


def is_video(path: Path) -> bool:
    """Whether a path has the ending of a video."""
    return path.suffix.lower() in VIDEO_ENDINGS


def videos_below(folder: Path) -> list[Path]:
    """All video files of a tree, in their order."""
    return sorted(path for path in folder.rglob("*") if is_video(path))


def entries(folder: Path) -> dict[str, Path]:
    """Videos and folders of frames directly in a folder, by their names without ending."""
    if not folder.is_dir():
        return {}
    return {
        path.stem if is_video(path) else path.name: path
        for path in sorted(folder.iterdir())
        if is_video(path) or path.is_dir()
    }


def lines(path: Path) -> list[str]:
    """The lines of a text file that are not empty."""
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def identity_pairs(split: str) -> list[tuple[str, str]]:
    """The pairs of the official FaceForensics++ split, or of a JSON of pairs.

    Args:
        split: train, val, test, or a file ``[["000", "003"], ...]``.
    """
    if split in ("train", "val", "test"):
        return [(a, b) for a, b in (line.split() for line in lines(SPLITS / f"ffpp_{split}.txt"))]
    from shared_utils import files

    content = files.read_json(Path(split), "split")
    if not isinstance(content, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in content):
        raise UserError(f'{split}: expected a list of pairs of ids, [["000", "003"], ...]')
    return [(str(a), str(b)) for a, b in content]


def first_folder(candidates: Iterable[Path]) -> Path | None:
    """The first that is a folder."""
    return next((path for path in candidates if path.is_dir()), None)
