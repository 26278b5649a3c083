"""Reading a picture file as everybody sees it: upright, RGB, 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from shared_utils import UserError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def read_picture(source: str | Path | IO[bytes]) -> np.ndarray:
    """A picture as uint8 RGB (h, w, 3), turned as its EXIF data says.

    Grey and palettes become RGB, transparent parts are laid over white, and of 16 bits the upper 8 are kept.

    Args:
        source: a file, or an opened one.

    Raises:
        UserError: it is not there, or is not a whole picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I") or image.mode == "F":
                return np.repeat(_to_8_bits(np.asarray(image))[..., None], 3, axis=2)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return np.array(image.convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"{source} not found: check the path") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        name = source if isinstance(source, str | Path) else getattr(source, "name", "the picture")
        raise UserError(f"{name} cannot be read as a picture ({error}): copy it again") from None


def pictures_in(folder: str | Path) -> list[Path]:
    """The pictures of a folder and its folders, frame2 before frame10; hidden ones are left out."""
    from shared_utils.video import natural_order

    folder = Path(folder)
    found = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.parent, natural_order(path)))


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of 16 or 32 bits, or floats, as uint8."""
    if values.dtype.kind == "f":
        return np.clip(values, 0, 255).astype(np.uint8)
    return np.clip(values >> 8, 0, 255).astype(np.uint8)
