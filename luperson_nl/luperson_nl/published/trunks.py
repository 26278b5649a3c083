"""Which trunk a state dict is of, read off names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from luperson_nl.models.trunks import RESNETS, TRUNKS, Bottleneck
from shared_utils import UserError

_TRUNK_NAME = re.compile(r"(conv1|bn1|layer[1-4]|NL_[1-4])\.")


def is_trunk_entry(name: str) -> bool:
    """Whether a name is of a ResNet without its classifier."""
    return _TRUNK_NAME.match(name) is not None


def _known() -> dict[tuple, str]:
    return {(depths, block is Bottleneck, widths[0]): name for name, (block, depths, widths) in RESNETS.items()}


def trunk_name(state: Mapping[str, Tensor], source: str = "the checkpoint") -> str:
    """The name of the ResNet whose entries these are (``conv1.weight``, ``layer1.0.conv1.weight``, ...).

    Raises:
        UserError: a ResNet that is not built here (with IBN or SE, wide or grouped, of other depths).
    """
    for mark, what in ((".bn1.IN.", "instance-batch norm (IBN)"), (".se.", "squeeze and excitation (SE)")):
        if any(mark in name for name in state):
            raise UserError(f"{source} is a ResNet with {what}, which is not built here: use a plain ResNet")
    depths = {stage: 0 for stage in range(1, 5)}
    for name in state:
        if found := re.match(r"layer([1-4])\.(\d+)\.conv1\.weight", name):
            depths[int(found[1])] = max(depths[int(found[1])], int(found[2]) + 1)
    width = state["conv1.weight"].shape[0] if "conv1.weight" in state else 0
    found_shape = (tuple(depths.values()), "layer1.0.conv3.weight" in state, width)
    known = _known()
    if found_shape not in known:
        blocks = "-".join(str(depth) for depth in depths.values())
        raise UserError(
            f"{source} holds a ResNet of {blocks} blocks and {width} channels after its stem, which is none of "
            f"{', '.join(TRUNKS)}: entries may be missing"
        )
    return known[found_shape]
