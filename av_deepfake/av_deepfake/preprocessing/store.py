"""Mouths on disk: an array of pictures, an array of sound and a sidecar for each video, all memory-mapped on reading.

For a video ``a/clip.mp4`` there are ``a/clip.mp4.npy`` (T, 96, 96) uint8, ``a/clip.mp4.sound.npy`` (T * 640,) int16 at
16 kHz where it has sound, and ``a/clip.mp4.json``, which is written last: without it the others do not count. Nothing is
held in memory while they are written, whatever the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from av_deepfake.preprocessing.clock import FPS, RATE, sound_between
from av_deepfake.preprocessing.mouth_crop import SIDE
from av_deepfake.preprocessing.mouths import Mouths, sound_facts
from av_deepfake.preprocessing.video import MouthVideo, Settings
from shared_utils import UserError, files

MISSING = 0.5
"""A video with a face in fewer than this share of its frames is stored as ``no_mouth`` and left out on reading."""
_CHUNK = 60.0  # seconds of sound that are decoded at once
_HEADER = 128


class Store:
    """The mouths of many videos in a folder. ``names``: those with a mouth, sorted. Made by ``open``."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        """The number of videos."""
        return len(self.names)

    def __getitem__(self, name: str) -> Mouths:
        """The mouths of a video; pictures and sound stay on disk until they are used."""
        return read_entry(self.folder, name)

    def facts(self, name: str) -> dict[str, Any]:
        """The sidecar of a video."""
        return files.read_json(self.folder / f"{name}.json", "sidecar of mouths")


def open(folder: str | Path) -> Store:
    """The store in a folder.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder)
    found = []
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix().removesuffix(".json")
        if (folder / f"{name}.npy").is_file() and files.read_json(path, "sidecar of mouths").get("status") == "ok":
            found.append(name)
    if not found:
        raise UserError(f"{folder} holds no mouths (clip.mp4.npy beside clip.mp4.json): make them with preprocess")
    return Store(folder, found)


def read_entry(folder: str | Path, name: str) -> Mouths:
    """The mouths of one video of a store.

    Raises:
        UserError: they are missing or damaged.
    """
    stem = Path(folder) / name
    facts = files.read_json(stem.with_name(f"{stem.name}.json"), "sidecar of mouths")
    pictures = _mapped(stem.with_name(f"{stem.name}.npy"))
    sound = _mapped(stem.with_name(f"{stem.name}.sound.npy")) if facts.get("sound") == "" else None
    valid, segment = np.zeros(len(pictures), bool), np.zeros(len(pictures), np.int64)
    for start, stop, is_valid, number in facts["runs"]:
        valid[start:stop], segment[start:stop] = bool(is_valid), number
    return Mouths(name, pictures, valid, segment, sound, facts)


def write(
    folder: str | Path, name: str, path: str | Path, settings: Settings, sound: Path | None = None
) -> dict[str, Any]:
    """Cut the mouths of a video into a store.

    Args:
        folder: of the store.
        name: of the video in it, ``a/clip.mp4``.
        path: the video.
        settings: how mouths are cut.
        sound: the file with its sound, where that is another one; it begins with the picture.

    Returns:
        The facts that the sidecar holds: those of ``MouthVideo`` with ``status``, ``settings``, ``index`` (the frame of the
        file that each mouth is of) and ``runs`` (start, stop, valid, segment).

    Raises:
        UserError: the video, or its landmarks, cannot be read.
    """
    stem = Path(folder) / name
    stem.with_name(f"{stem.name}.json").unlink(missing_ok=True)  # until everything is whole again
    video = MouthVideo(path, settings, name)
    index: list[int] = []
    runs: list[list[int]] = []
    with _array(stem.with_name(f"{stem.name}.npy"), (SIDE, SIDE), np.dtype(np.uint8)) as stream:
        for mouth in video.mouths():
            stream.write(np.ascontiguousarray(mouth.picture).tobytes())
            if not runs or runs[-1][2:] != [int(mouth.valid), mouth.segment]:
                runs.append([len(index), len(index), int(mouth.valid), mouth.segment])
            index.append(mouth.index)
            runs[-1][1] = len(index)
    facts = video.facts
    if settings.sound:
        facts |= _write_sound(stem.with_name(f"{stem.name}.sound.npy"), video, len(index), sound)
    covered = sum(stop - start for start, stop, valid, _ in runs if valid)
    facts |= {
        "status": "ok" if covered >= max(1, MISSING * len(index)) else "no_mouth",
        "covered": round(covered / max(1, len(index)), 4),
        "settings": settings.describe(),
        "runs": runs,
        "index": index,
    }
    files.write_json(facts, stem.with_name(f"{stem.name}.json"))
    return facts


def _write_sound(target: Path, video: MouthVideo, frames: int, sound: Path | None) -> dict[str, Any]:
    """The sound in parts, so that an hour of it does not lie in memory; what the sidecar says of it."""
    seconds, begin, end = frames / FPS, None, 0.0
    why = ""
    path, zero = (video.path, video.first) if sound is None else (sound, 0.0)
    with _array(target, (), np.dtype(np.int16)) as stream:
        for number in range(max(1, int(np.ceil(seconds / _CHUNK)))):
            start = number * _CHUNK
            length = min(_CHUNK, seconds - start)
            try:
                samples, first, last = sound_between(path, zero, start, length)
                begin, end = first if begin is None else begin, last
            except UserError as error:
                why = why or str(error).removeprefix(f"{path} ")
                samples = np.zeros(round(length * RATE), np.float32)
            stream.write(np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16).tobytes())
    if begin is None:
        target.unlink()
        return {"sound": why}
    return sound_facts(video.name, seconds, begin, end) | ({} if sound is None else {"sound_file": sound.name})


@contextmanager
def _array(path: Path, row: tuple[int, ...], kind: np.dtype) -> Iterator[IO[bytes]]:
    """A .npy whose number of rows is known when everything is written: its head is filled in at the end."""
    with files.replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(bytes(_HEADER))
        yield stream
        size = max(1, int(np.prod(row))) * kind.itemsize
        shape = ((stream.tell() - _HEADER) // size, *row)
        text = repr({"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}).encode()
        stream.seek(0)
        stream.write(np.lib.format.magic(1, 0) + (_HEADER - 10).to_bytes(2, "little"))
        stream.write(text.ljust(_HEADER - 11) + b"\n")


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} not found: make the mouths again with preprocess") from None
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged ({error}): make the mouths again with preprocess --overwrite") from None
