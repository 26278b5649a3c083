"""Image files of 8 and 16 bits in and out, through OpenCV, in RGB order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from shared_utils import UserError, files
from shared_utils.video import natural_order

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order of their names (2.png before 10.png), without hidden ones."""
    images = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted((path for path in images if not path.name.startswith(".")), key=natural_order)


def read_image(path: str | Path) -> np.ndarray:
    """(h, w) or (h, w, 3 or 4), RGB(A), uint8 or uint16. Raises UserError for a file that is not a whole image."""
    path = Path(path)
    data = path.read_bytes()
    ends = {b"\x89PNG": b"IEND", b"\xff\xd8\xff": b"\xff\xd9"}
    cut = next((end not in data[-4096:] for start, end in ends.items() if data.startswith(start)), False)
    image = None
    if data and not cut:
        with _quiet_opencv(), suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype not in (np.uint8, np.uint16):
        reason = "is empty" if not data else "is truncated" if cut else "is not an 8- or 16-bit image"
        raise UserError(f"{path} {reason}: scan or copy this frame again, or remove it")
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def write_image(image: np.ndarray, path: str | Path) -> None:
    """Write (h, w) or (h, w, 3 or 4) RGB(A), uint8 or uint16, durably; PNG or TIFF by the suffix."""
    path = Path(path)
    with files.replacing(path) as temporary:
        temporary.write_bytes(encoded(image, path.suffix))


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    """The bytes of an image file, compressed lightly and without loss."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    return cv2.imencode(suffix, image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def fingerprint(paths: Iterable[Path]) -> str:
    """Changes when files do: their places, sizes and times."""
    facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
