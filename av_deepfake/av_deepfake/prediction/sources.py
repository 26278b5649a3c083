"""Which videos are meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from av_deepfake.preprocessing import store
from av_deepfake.preprocessing.folder import videos_of
from shared_utils import UserError


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
    try:
        found = videos_of(path, limit, leave_out)
    except UserError:
        if not path.is_dir():
            raise
        try:
            return Videos(path, tuple(store.open(path).names[:limit]), stored=True)
        except UserError:
            pass
        raise
    return Videos(path if path.is_dir() else path.parent, tuple(found))
