"""Encoded pictures as arrays; a large JPEG at a fraction of its size, which costs less than all of it."""

from __future__ import annotations

import cv2
import numpy as np

_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def decode(data: bytes | memoryview, at_least: tuple[int, int] | None = None) -> np.ndarray | None:
    """Decode a JPEG, PNG, BMP or PPM.

    Args:
        data: the file's content.
        at_least: (height, width) that is needed. A JPEG of twice that or more in both directions is decoded at a half, a
            quarter or an eighth of its size, the smallest that has it still. None: at full size.

    Returns:
        (h, w, 3) uint8 RGB; None where it cannot be read.
    """
    flag = cv2.IMREAD_COLOR
    if at_least is not None and (size := jpeg_size(data)) is not None:
        factor = min(size[0] // at_least[0], size[1] // at_least[1])
        flag = _REDUCED.get(next((step for step in (8, 4, 2) if step <= factor), 1), flag)
    buffer = np.frombuffer(data, np.uint8)
    image = cv2.imdecode(buffer, flag) if len(buffer) else None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """(height, width) from a JPEG's header, without decoding; None where the data is not one."""
    if bytes(data[:2]) != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        # Start of frame: of every coding process, without the tables DHT (C4), JPG (C8) and DAC (CC).
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return int.from_bytes(height, "big"), int.from_bytes(width, "big")
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
