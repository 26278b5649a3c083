"""Which videos are meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from av_deepfake.preprocessing import store
from shared_utils import UserError
from shared_utils.video import natural_order

VIDEOS = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp"}


@dataclass(frozen=True)
class Videos:
    """Videos below a folder, each by its name relative to it. stored: they are mouths that preprocess has cut already."""

    root: Path
    names: tuple[str, ...]
    stored: bool = False

    def path(self, name: str) -> Path:
        """Where a video lies."""
        return self.root / name

    def facts(self) -> list[list[str | int]]:
        """Names and sizes: what a result depends on."""
        if self.stored:
            return [[name, len(entry.valid)] for name in self.names for entry in [store.read_entry(self.root, name)]]
        return [[name, self.path(name).stat().st_size] for name in self.names]


def collect(path: str | Path, limit: int | None = None, leave_out: str | Path | None = None) -> Videos:
    """A video, the videos of a folder and its folders, or the mouths in the output of preprocess.

    Args:
        path: the file or folder.
        limit: at most so many videos.
        leave_out: a folder below it that is none of them: where the results go.

    Raises:
        UserError: there is nothing, or nothing of a known kind.
    """
    path = Path(path)
    kinds = f"a video ({', '.join(sorted(VIDEOS))}), a folder of them, or the output of preprocess"
    if path.is_file():
        if path.suffix.lower() not in VIDEOS:
            raise UserError(f"{path} is not of a known kind: give {kinds}")
        return Videos(path.parent, (path.name,))
    if not path.is_dir():
        raise UserError(f"{path} not found: give {kinds}")
    own = Path(leave_out).resolve() if leave_out is not None else None
    found = [
        file
        for file in path.rglob("*")
        if file.suffix.lower() in VIDEOS
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and not (own is not None and own != path.resolve() and file.resolve().is_relative_to(own))
    ]
    if not found:
        try:
            return Videos(path, tuple(store.open(path).names[:limit]), stored=True)
        except UserError:
            raise UserError(f"{path} holds no video: give {kinds}") from None
    found.sort(key=lambda file: (file.parent, natural_order(file)))
    return Videos(path, tuple(file.relative_to(path).as_posix() for file in found[:limit]))
