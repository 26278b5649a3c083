"""Published checkpoint files: the state dict inside, whatever is around it, and nothing of the file is ever run."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shared_utils import UserError
from shared_utils.checkpoint import load_tensors

_INSIDE = ("model", "state_dict", "model_state_dict", "model_ema", "network", "module")
# Buffers that our modules compute themselves.
_COMPUTED = re.compile(
    r"(^|\.)(relative_position_index|attn_mask|relative_coords_table|_num_global_experts|num_batches_tracked)$"
)


def read(path: str | Path) -> Any:
    """The content of a checkpoint file, tensors and plain values only.

    The released Swin-MoE files hold a yacs configuration beside the weights: it is read as a plain dict, its class is
    neither imported nor run. Any other object is refused with its name.

    Raises:
        UserError: the file is missing, damaged, no checkpoint, or holds objects that only running code would make.
    """
    # torch's restricted reader fills only its own kinds of dict.
    with torch.serialization.safe_globals([(OrderedDict, "yacs.config.CfgNode")]):
        return load_tensors(path)


def unwrap(content: Any, source: str = "the checkpoint") -> dict[str, Tensor]:
    """The state dict in a file's content, without wrappers' prefixes and without computed buffers.

    Args:
        content: of a file, or a state dict.
        source: what it is called in the error.

    Returns:
        Entry names without ``module.``, ``encoder.`` (SimMIM), ``backbone.`` where every entry begins so.

    Raises:
        UserError: there is no state dict.
    """
    while isinstance(content, Mapping) and not _is_state(content):
        inner = next((content[key] for key in _INSIDE if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            raise UserError(f"{source} holds no state dict: expected {{'model': ...}}, {{'state_dict': ...}} or itself")
        content = inner
    if not isinstance(content, Mapping):
        raise UserError(f"{source} holds no state dict: expected {{'model': ...}}, {{'state_dict': ...}} or itself")
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    for prefix in ("module.", "encoder.", "module."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    if state and all(name.startswith("backbone.") for name in state):
        state = {name.removeprefix("backbone."): value for name, value in state.items()}
    return state


def without_computed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries that are learnt: without position indices, masks and counters."""
    return {name: value for name, value in state.items() if not _COMPUTED.search(name)}


def _is_state(content: Mapping[str, Any]) -> bool:
    return bool(content) and sum(isinstance(value, Tensor) for value in content.values()) > len(content) / 2


def rank_files(path: str | Path) -> list[Path]:
    """The files of a rank-sharded checkpoint, in the order of ranks; empty where ``path`` is an ordinary file.

    Args:
        path: one of them (``x.pth.rank3``), or the name before the rank (``x.pth``).

    Raises:
        UserError: a rank between others is missing; the sentence names its file.
    """
    path = Path(path)
    found = re.fullmatch(r"(.*)\.rank\d+", path.name)
    stem = found[1] if found else path.name
    if not found and path.is_file():
        return []
    ranks = {
        int(match[1]): file
        for file in path.parent.glob(f"{glob_escape(stem)}.rank*")
        if (match := re.fullmatch(re.escape(stem) + r"\.rank(\d+)", file.name))
    }
    for rank in range(max(ranks, default=-1) + 1):
        if rank not in ranks:
            raise UserError(
                f"{path.parent / f'{stem}.rank{rank}'} not found: the checkpoint is in one file a rank, 0 to "
                f"{max(ranks)}, and all are needed"
            )
    return [ranks[rank] for rank in sorted(ranks)]


def glob_escape(name: str) -> str:
    """A file name with the characters that a glob pattern reads made plain."""
    return re.sub(r"([*?[])", r"[\1]", name)
