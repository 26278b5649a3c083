"""What the arguments of restoring and colouring have in common, checked before anything heavy is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from old_films_rtn.video.images import IMAGE_SUFFIXES, fingerprint
from old_films_rtn.video.io import Film, check_output
from old_films_rtn.video.writer import CONTAINERS
from shared_utils import UserError, files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How a film goes through a network, whichever it is; the meanings are those of the arguments of ``restore``.

    span: first frame and end of the part that is worked on; end None: to the last.
    """

    span: tuple[int, int | None] = (0, None)
    flow: str = "auto"
    cuts: str = "auto"
    chunk: int | None = None
    lookahead: int | None = None
    tile: int | None = None
    memory: float = 4.0
    precision: str = "fp32"
    device: str = "auto"
    workers: int = 1
    codec: str | None = None
    crf: int = 16
    rate: float | None = None
    resume: bool = False
    overwrite: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Plan:
        """The plan among the arguments of a verb. Raises UserError for a part of a film that is not one, and for every
        number out of its range."""
        check_numbers(arguments)
        known = {field.name for field in fields(cls)} & set(arguments)
        return cls(span=span(arguments["frames"]), **{name: arguments[name] for name in known})

    @property
    def video(self) -> dict[str, Any]:
        """The options of ``VideoWriter`` for the film."""
        return {"codec": self.codec, "crf": self.crf, "rate": self.rate, "part": self.span != (0, None)}

    @property
    def beside(self) -> dict[str, Any]:
        """The options of ``VideoWriter`` for pictures beside the film: the same moments, without sound."""
        return {"rate": self.rate, "part": self.span != (0, None), "sound": False}

    def job(self) -> dict[str, Any]:
        """What the kept frames of a film depend on; tiles and memory do not change them. Files count with their content."""
        names = ("span", "flow", "cuts", "lookahead", "precision")
        given = [Path(self.cuts), Path(self.flow.removeprefix("raft:"))]
        return {name: getattr(self, name) for name in names} | {
            "files": fingerprint(path for path in given if path.is_file())
        }


def span(frames: str | None) -> tuple[int, int | None]:
    """(first, end) of ``"100:200"``, ``"100:"`` or ``":200"``."""
    if frames is None:
        return 0, None
    first, colon, end = frames.partition(":")
    try:
        pair = int(first or 0), int(end) if end else None
    except ValueError:
        pair = (-1, None)
    if not colon or pair[0] < 0 or (pair[1] is not None and pair[1] <= pair[0]):
        raise UserError(f"--frames is first:end, the end not included, got {frames}: for example 100:200")
    return pair


RANGES = {
    "strength": (0, 1),
    "mask_threshold": (0, None),  # above 1 nothing is a defect
    "max_change": (0, 1),
    "grain": (0, 1),
    "passes": (1, None),
    "short_side": (16, None),
    "chunk": (1, None),
    "lookahead": (0, None),
    "tile": (16, None),
    "memory": (0.1, None),
    "workers": (1, 256),
    "crf": (0, 63),
    "rate": (0.1, 1000),
    "first_frame": (0, None),
    "preview": (0, None),
}


def check_numbers(arguments: Mapping[str, Any]) -> None:
    """Raise UserError for a number that is out of its range."""
    for name, (low, high) in RANGES.items():
        value = arguments.get(name)
        if value is None or (value >= low and (high is None or value <= high)):
            continue
        allowed = f"at least {low}" if high is None else f"between {low} and {high}"
        raise UserError(f"--{name.replace('_', '-')} is {allowed}, got {value}")


def check_choice(everywhere: bool, grain: float, mask: str | None, threshold: float | None) -> None:
    """Raise UserError for arguments that contradict each other."""
    if grain and not everywhere:
        raise UserError("--grain puts back what only --everywhere takes away outside defects: give both, or neither")
    if mask is not None and threshold is not None:
        raise UserError("--mask says where the defects are, and --mask-threshold how they are found: give one of them")


def output_of(film: Film, out: str | None, suffix: str) -> Path:
    """``out``; where not given ``film_restored.mp4`` for ``film.mp4``, a folder for a folder or an image. AVI becomes MKV.
    suffix: "restored"; with an ending, the output is an image."""
    if out is not None:
        return Path(out)
    path = film.path
    if suffix.endswith(".png"):
        return path.resolve().with_name(f"{path.resolve().stem}_{suffix}")
    if path.is_dir():
        return path.resolve().with_name(f"{path.resolve().name}_{suffix}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path.with_name(f"{path.stem}_{suffix}")
    container = path.suffix.lower() if path.suffix.lower() in CONTAINERS else ".mkv"
    return path.with_name(f"{path.stem}_{suffix}{'.mkv' if container == '.avi' else container}")


def nothing_to_do(out: Path, film: Film, plan: Plan, image: bool = False) -> bool:
    """Whether ``--resume`` finds the output finished; image: it is one. Raises UserError where it may not be written."""
    if image:
        files.refuse_existing(out, plan.overwrite)
        return False
    there = out.is_file() or (out.is_dir() and any(out.iterdir()))
    if plan.resume and there:
        from shared_utils import work  # loads torch

        if not work.beside_file(out).is_dir():
            log.info("%s is there already: nothing to resume", out)
            return True
    check_output(out, film, plan.overwrite or (plan.resume and there))
    return False
