"""Files that published code has written with torch, read with nothing of them run.

Beside tensors and plain values only the harmless types are let in that these codes store (``argparse.Namespace``,
``torch.device``, ``torch.dtype``, numpy arrays).
"""

from __future__ import annotations

import argparse
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray

from shared_utils import UserError
from shared_utils.checkpoint import verify


def read_published(path: str | Path) -> Any:
    """The content of a published ``.pt``/``.pth.tar`` file, with nothing of it run.

    Raises UserError, naming the file, for anything that is not such a file, or holds other types.
    """
    path = Path(path)
    verify(path)
    reconstruct, scalar = multiarray._reconstruct, multiarray.scalar
    allowed = [
        argparse.Namespace,
        torch.device,
        torch.dtype,
        np.dtype,
        np.ndarray,
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        reconstruct,
        (scalar, "numpy.core.multiarray.scalar"),
        scalar,
        *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for code ({found[1]}), which is never run" if found else "is not a file that torch can read"
        raise UserError(f"{path} {what}: save its plain state dict and give that") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not a file that torch can read ({reason})") from error
