"""What every format is read into: clips with a label, and what of them was not found."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from shared_utils import UserError

log = logging.getLogger(__name__)
REAL, FAKE = 0, 1
VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_SHOWN = 5


@dataclass(frozen=True)
class Clip:
    """One video: a file, or frames that were taken from it.

    Args:
        video: its id, unique in the set: of four manipulations of one pair, each has its own.
        label: 0 real, 1 fake.
        method: how it was made, "real" for what was not.
        frames: pictures in the order of time; empty where ``file`` is the video itself.
        file: the video; None where there are only frames.
        mask: video or folder of masks that say which face was changed; None where none is known.
    """

    video: str
    label: int
    method: str
    frames: tuple[Path, ...] = ()
    file: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class TestSet:
    """A test set.

    Args:
        name: of the set.
        clips: what is there.
        missing: paths that the set lists and that are not there.
        tight: its pictures are crops that cut a part of the outer face.
    """

    __test__ = False  # pytest takes a class of this name for a test

    name: str
    clips: list[Clip]
    missing: list[str] = field(default_factory=list)
    tight: bool = False

    def __post_init__(self) -> None:
        if double := [video for video, count in Counter(clip.video for clip in self.clips).items() if count > 1]:
            raise UserError(f"{self.name} lists the video {double[0]} twice: give each its own name")

    @property
    def counts(self) -> dict[str, int]:
        """Clips by method, frames and missing files."""
        found = Counter(clip.method for clip in self.clips)
        return {**found, "frames": sum(len(clip.frames) for clip in self.clips), "missing files": len(self.missing)}

    def checked(self) -> TestSet:
        """Itself, where both classes are there; what is missing is said in the log.

        Raises:
            UserError: a class has no clip.
        """
        if self.missing:
            more = f", and {len(self.missing) - _SHOWN} more" if len(self.missing) > _SHOWN else ""
            log.warning("%s: %d files are missing: %s%s", self.name, len(self.missing), _listed(self.missing), more)
        for label, what in ((REAL, "real"), (FAKE, "fake")):
            if not any(clip.label == label for clip in self.clips):
                found = f"{len(self.clips)} clips of the other class" if self.clips else "nothing else either"
                hint = (
                    f"; {len(self.missing)} files are missing, {self.missing[0]} first: --root_map OLD=NEW"
                    if self.missing
                    else ""
                )
                raise UserError(
                    f"{self.name}: no {what} picture or video was found ({found}); AUC needs both classes{hint}"
                )
        return self


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN])


class RootMap:
    """Paths of another machine on this one.

    Args:
        rules: "OLD=NEW" each; the first whose OLD a path begins with applies. Separators of both kinds are understood.

    Raises:
        UserError: a rule has no "=".
    """

    def __init__(self, rules: Iterable[str] = ()) -> None:
        self.rules = []
        for rule in rules:
            old, equals, new = rule.partition("=")
            if not equals or not old:
                raise UserError(f"--root_map {rule!r}: give OLD=NEW, as in D:/data/ff=/data/ff")
            self.rules.append((_forward(old).rstrip("/"), new))

    def __call__(self, listed: str, base: Path) -> Path:
        """Where a listed path is: mapped, or as it is, or below ``base`` where it is relative."""
        path = _forward(listed)
        for old, new in self.rules:
            if path == old or path.startswith(f"{old}/"):
                return Path(new + path[len(old) :])
        if re.match(r"^(\.\./|\./)*[^/:]", path) and not path.startswith("/") and not re.match(r"^[A-Za-z]:", path):
            return base / path
        return Path(path)


def _forward(path: str) -> str:
    return PureWindowsPath(path).as_posix() if "\\" in path else path


def existing(paths: Sequence[Path], listed: Sequence[str], missing: list[str]) -> tuple[Path, ...]:
    """The paths that are files; how the others are listed is added to ``missing``."""
    kept = []
    for path, name in zip(paths, listed, strict=True):
        if path.is_file():
            kept.append(path)
        else:
            missing.append(name)
    return tuple(kept)


def videos_below(folder: Path) -> list[Path]:
    """The video files of a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS)


def clips_of(
    paths: Iterable[Path], label: int, method: str, name: Callable[[Path], str], mask: Callable[[Path], Path | None]
) -> list[Clip]:
    """A clip a video file."""
    return [Clip(f"{method}/{name(path)}", label, method, file=path, mask=mask(path)) for path in paths]


def folder_needed(path: Path, what: str) -> Path:
    """A folder that a layout has.

    Raises:
        UserError: it is not there.
    """
    if not path.is_dir():
        raise UserError(f"{path} not found: {what}")
    return path
