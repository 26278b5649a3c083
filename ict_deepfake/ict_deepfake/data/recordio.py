"""RecordIO files of face recognition (``train.rec``, ``train.idx``), read without mxnet.

A record is magic, a word of 3 bits flag and 29 bits length, data, and zeros up to a multiple of 4 bytes. Data that holds the
magic at a multiple of 4 is written in parts (flags 1, 2, ..., 3), each without those 4 bytes. The data of a picture is a
header (``<IfQQ``: flag, label, two ids), as many float32 labels as the flag says, and the encoded picture.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from shared_utils import UserError

MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", MAGIC)
_HEADER = struct.Struct("<IfQQ")
_CHUNK = 1 << 16


class RecordFile:
    """Records of a file by number, in the order of its index.

    Args:
        path: the ``.rec``; the ``.idx`` beside it, lines of key and offset, is made up by reading through where it is missing.

    Attributes:
        keys: (n,) of the records.
        offsets: (n,) where they begin.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"{self.path} not found: give the folder that holds train.rec, or a .rec file")
        if self.path.stat().st_size < 8:
            raise UserError(f"{self.path} is empty: copy it again")
        self._bytes = np.memmap(self.path, np.uint8, "r")
        index = self.path.with_suffix(".idx")
        self.keys, self.offsets = self._read_index(index) if index.is_file() else self._scan()
        if not len(self.offsets):
            raise UserError(f"{self.path} holds no record")

    def __getstate__(self) -> dict[str, object]:
        # A worker opens the file itself: pickling a map would copy the whole file.
        return {"path": self.path, "keys": self.keys, "offsets": self.offsets}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._bytes = np.memmap(self.path, np.uint8, "r")

    def __len__(self) -> int:
        return len(self.offsets)

    def _read_index(self, index: Path) -> tuple[np.ndarray, np.ndarray]:
        try:
            rows = np.loadtxt(index, dtype=np.int64, usecols=(0, 1), ndmin=2)
        except (ValueError, IndexError) as error:
            raise UserError(f"{index} is not an index of records (key, tab, offset): {error}") from None
        if len(rows) and rows[:, 1].max() >= len(self._bytes):
            raise UserError(f"{self.path} is shorter than {index.name} says: it was cut off, copy it again")
        return rows[:, 0], rows[:, 1]

    def _scan(self) -> tuple[np.ndarray, np.ndarray]:
        offsets, place = [], 0
        while place + 8 <= len(self._bytes):
            flag, length = self._word(place)
            if flag in (0, 1):
                offsets.append(place)
            place += 8 + length + (-length) % 4
        return np.arange(len(offsets)), np.array(offsets, np.int64)

    def _word(self, place: int) -> tuple[int, int]:
        """Flag and length of the part that begins at a place."""
        if place + 8 > len(self._bytes):
            raise UserError(f"{self.path} was cut off at byte {place}: copy it again")
        magic, word = struct.unpack("<II", self._bytes[place : place + 8].tobytes())
        if magic != MAGIC:
            raise UserError(f"{self.path} has no record at byte {place}: it is damaged, or the .idx is another file's")
        return word >> 29, word & ((1 << 29) - 1)

    def data(self, number: int) -> bytes:
        """The data of a record, its parts joined."""
        place, parts = int(self.offsets[number]), []
        while True:
            flag, length = self._word(place)
            part = self._bytes[place + 8 : place + 8 + length].tobytes()
            if len(part) < length:
                raise UserError(f"{self.path} was cut off in record {self.keys[number]}: copy it again")
            parts.append(part)
            if flag in (0, 3):
                return _MAGIC_BYTES.join(parts)
            place += 8 + length + (-length) % 4

    def picture(self, number: int) -> bytes:
        """The encoded picture of a record; empty for a record of labels alone."""
        data = self.data(number)
        flag = _HEADER.unpack_from(data)[0]
        return data[_HEADER.size + 4 * flag :]

    def labels(self, number: int) -> np.ndarray:
        """The labels of a record, float32."""
        data = self.data(number)
        flag, label = _HEADER.unpack_from(data)[:2]
        return np.frombuffer(data, np.float32, flag, _HEADER.size) if flag else np.array([label], np.float32)

    def first_labels(self, numbers: np.ndarray) -> np.ndarray:
        """The first label of many records at once, int64: (n,)."""
        found = np.empty(len(numbers), np.int64)
        for start in range(0, len(numbers), _CHUNK):
            rows = numbers[start : start + _CHUNK]
            places = self.offsets[rows]
            safe = np.clip(places, 0, max(0, len(self._bytes) - 36))
            # magic, word, flag, label, two ids, first of the further labels
            head = np.take(self._bytes, safe[:, None] + np.arange(36), mode="clip").view("<u4")
            labels = np.where(head[:, 2] > 0, head[:, 8].view(np.float32), head[:, 3].view(np.float32))
            found[start : start + len(rows)] = labels
            plain = (head[:, 0] == MAGIC) & ((head[:, 1] & ((1 << 29) - 1)) >= 28) & (safe == places)
            for row in np.flatnonzero(~plain):  # of a few bytes, or split within its header
                found[start + row] = int(self.labels(int(rows[row]))[0])
        return found


def picture_records(file: RecordFile) -> tuple[np.ndarray, np.ndarray]:
    """Which records are pictures, and whose: numbers and identities, both (n,) int64.

    In files of InsightFace, key 0 says (first identity record, end): pictures are the keys from 1 up to the first; in files
    of im2rec every record is a picture.
    """
    numbers = np.arange(len(file))
    zero = np.flatnonzero(file.keys == 0)
    if len(zero) and not file.picture(int(zero[0])):
        ranges = file.labels(int(zero[0]))
        numbers = numbers[(file.keys >= 1) & (file.keys < int(ranges[0]))]
    if not len(numbers):
        raise UserError(f"{file.path} holds no picture, only records of labels")
    return numbers, file.first_labels(numbers)
