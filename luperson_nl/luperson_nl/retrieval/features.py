"""What is ranked: one feature a picture, with the person and the camera that it shows."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from shared_utils import UserError


@dataclass(frozen=True)
class Features:
    """Features of ``n`` pictures, a row each.

    Args:
        array: (n, d) float32, of any length; they are compared by their direction.
        pid: (n,) the person; -1 is nobody: junk (``market-trapezoid``), or wrong for every query (``fastreid``).
        camera: (n,) the camera; -1 where it is not known.
        paths: (n,) names of the pictures, None where they have none. The same name is the same picture.
        frame: (n,) number of the frame in its video, None where there is no video.
        video: (n,) the video that the frame is of; the camera's only one where None.
    """

    array: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    paths: np.ndarray | None = None
    frame: np.ndarray | None = None
    video: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 2:
            raise UserError(f"features are a table with a row a picture, got the shape {self.array.shape}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "array" and value is not None and value.shape != (len(self.array),):
                raise UserError(
                    f"'{field.name}' has the shape {value.shape}, the features are of {len(self.array)} pictures: "
                    "each array has one entry a picture"
                )

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: np.ndarray | slice) -> Features:
        """The features of some pictures: indices, a mask or a slice."""
        chosen: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        picked: dict[str, Any] = {name: value if value is None else value[rows] for name, value in chosen.items()}
        return Features(**picked)

    def name(self, row: int) -> str:
        """What a message calls a picture."""
        return f"row {row}" if self.paths is None else str(self.paths[row])

    def normalised(self) -> Features:
        """The same with rows of length 1.

        Raises:
            UserError: a row is not finite, or all zero: it has no direction.
        """
        array = np.ascontiguousarray(self.array, dtype=np.float32)
        # Of float32, the sum of squares of a row with NaN or infinity in it is neither finite.
        length = np.sqrt(np.einsum("nd,nd->n", array, array, dtype=np.float64))
        for bad, what in ((~np.isfinite(length), "NaN or infinite values"), (length == 0, "nothing but zeros")):
            if bad.any():
                raise UserError(
                    f"{int(bad.sum())} of {len(bad)} features hold {what} (the first is {self.name(int(bad.argmax()))}): "
                    "check the model and extract them again"
                )
        return replace(self, array=array / length[:, None].astype(np.float32))


def together(query: Features, gallery: Features) -> Features:
    """Query and gallery in one table, the query's rows first; what one of them lacks is left out."""
    if query.array.shape[1] != gallery.array.shape[1]:
        raise UserError(
            f"the features of the query have {query.array.shape[1]} dimensions, those of the gallery "
            f"{gallery.array.shape[1]}: extract both with the same model"
        )
    joined: dict[str, Any] = {}
    for field in fields(query):
        pair = getattr(query, field.name), getattr(gallery, field.name)
        joined[field.name] = None if pair[0] is None or pair[1] is None else np.concatenate(pair)
    return Features(**joined)
