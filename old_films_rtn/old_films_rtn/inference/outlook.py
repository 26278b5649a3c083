"""How much room on the disk a film takes, before its work begins."""

from __future__ import annotations

import shutil
from pathlib import Path

from old_films_rtn.video.shots import Shots
from shared_utils import UserError

FLOW_BYTES, STATE_BYTES = 16, 64
"""Of a pixel, in float32: both flows of a frame, and a hidden state at the beginning of a chunk. They wait on disk where a
shot is longer than a chunk."""
KEPT = 1.3
"""Images kept of a frame, luma and map, as a share of the bytes of its luma plane: at most, for scans full of grain."""


def disk_bytes(
    shots: Shots,
    size: tuple[int, int],
    sample: int,
    chunk: int,
    lookahead: int | None,
    passes: int,
    flows_kept: bool = True,
    at_once: int = 1,
) -> int:
    """Bytes on disk at most while a film is worked on. sample: bytes of a luma code. flows_kept: see ``flow.made_again``.
    at_once: how many shots are worked on at the same time."""
    longest = sorted(end - first for first, end in shots.spans())[-at_once:]
    waiting = 0
    for length in longest:
        if length > chunk and lookahead is None:
            waiting += flows_kept * length * FLOW_BYTES + -(-length // chunk) * STATE_BYTES
    a_pixel = sample * (KEPT * shots.length + sum(longest) * passes) + waiting
    return int(size[0] * size[1] * a_pixel)


def check_disk(folder: Path, needed: int, least: int) -> None:
    """Raise UserError where the disk of a folder has less room than is needed; least: with a short look-ahead."""
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return
    shorter = f"give --lookahead 40, with which it is {gigabytes(least)}, " if least <= free else ""
    raise UserError(
        f"{folder.parent} has {gigabytes(free)} free and the work needs up to {gigabytes(needed)}: {shorter}make room, name an"
        " --out on another disk, or do the film in parts with --frames"
    )


def gigabytes(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.2g} GB" if count >= 1e8 else f"{max(1, count / 1e6):.0f} MB"
