"""Our networks under other people's names."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from luperson_nl.models.mgn import MGN
from luperson_nl.models.reid import Baseline
from luperson_nl.models.statistics import Statistics
from luperson_nl.models.trunks import ResNet, TimmTrunk
from shared_utils import UserError

#: Layouts of single networks: what loads them.
EXPORTS = {
    "torchvision": "a trunk under torchvision's names, which timm's ResNets, torchreid and boxmot have too",
    "timm": "a trunk under timm's names",
    "fork": "a network of fine-tuning for the fork of LUPerson-NL, pixel statistics included",
    "fastreid": "a network of fine-tuning for upstream fast-reid",
}


def export_published(network: nn.Module, layout: str, statistics: Statistics | None = None) -> dict[str, Any]:
    """What ``torch.save`` writes for others.

    Args:
        network: a trunk; or a network of ``build_reid``, of which torchvision and timm get the trunk.
        layout: of ``EXPORTS``.
        statistics: mean and std of the pixels in 0..1, for ``fork``.

    Raises:
        UserError: the layout has no place for the network.
    """
    if layout in ("torchvision", "timm"):
        return _plain(_trunk(network, layout).state_dict())
    if not isinstance(network, Baseline | MGN):
        raise UserError(f"--to {layout} is for bot, agw and mgn, and this is a bare trunk: use --to torchvision")
    if isinstance(network, Baseline) and not isinstance(network.backbone, ResNet):
        raise UserError(f"--to {layout}: fast-reid has no trunk of timm; use --to timm, onnx or torchscript")
    state = _plain(network.state_dict())
    if layout == "fork":
        if statistics is not None:
            import torch

            for name, values in zip(("pixel_mean", "pixel_std"), statistics, strict=True):
                state[name] = 255 * torch.tensor(values).reshape(1, 3, 1, 1)
        return {"model": state}
    extra = [name for name in state if name.startswith("heads_extra_bn")]
    if extra:
        raise UserError("--to fastreid: upstream has no extra batch norm on the last map (extra_bn): use --to fork")
    return {
        "model": {re.sub(r"(heads?)\.classifier\.weight$", r"\1.weight", name): value for name, value in state.items()}
    }


def _trunk(network: nn.Module, layout: str) -> nn.Module:
    trunk = network.backbone if isinstance(network, Baseline) else network
    if isinstance(trunk, MGN):
        raise UserError(f"--to {layout}: mgn has three copies of its last stages, not one trunk; use --to fork")
    if isinstance(trunk, TimmTrunk):
        if layout == "torchvision":
            raise UserError("--to torchvision: the trunk is a model of timm; use --to timm")
        assert isinstance(trunk.model, nn.Module)
        return trunk.model
    if any(name.startswith("NL_") for name in trunk.state_dict()):
        raise UserError(f"--to {layout}: a trunk with non-local blocks is no plain ResNet; use --to fork")
    return trunk


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}
