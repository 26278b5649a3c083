"""What the experts do on data: who takes which part of an image, and load, entropy, drops and residuals over a set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rmoe.moe.diagnostics import expert_map, load, residual_cosines, residual_norms
from rmoe.moe.layer import ResidualMoE, moe_layers
from shared_utils import UserError
from shared_utils.distributed import gather_objects

_STRIDES = (1, 2, 4, 8, 16, 32, 64)


def expert_maps(model: nn.Module, size: tuple[int, int], choice: int = 0) -> dict[str, Tensor]:
    """Which expert every pixel of the last batch went to, for each mixture.

    Args:
        model: has run on a batch.
        size: (H, W) of that batch's images, as the backbone got them.
        choice: 0: the first choice of k.

    Returns:
        Layer name -> (B, H, W) int64; each token covers the pixels of its cell.

    Raises:
        UserError: the model has no mixture, or its tokens do not lie on a grid over the image.
    """
    maps = {name: _on_image(name, expert_map(layer, choice), size) for name, layer in moe_layers(model)}
    if not maps:
        raise UserError("this model has no experts: convert it first")
    return maps


def _grids(height: int, width: int) -> Iterator[tuple[int, int, int]]:
    """(stride, rows, columns) that the tokens of an image may lie on."""
    for stride in _STRIDES:
        yield stride, -(-height // stride), -(-width // stride)
    # CvT begins with a convolution (7, stride 4, padding 2) that leaves out an incomplete last patch.
    rows, columns = (height - 3) // 4 + 1, (width - 3) // 4 + 1
    for stride in _STRIDES[2:]:
        yield stride, rows, columns
        rows, columns = -(-rows // 2), -(-columns // 2)


def _on_image(name: str, experts: Tensor, size: tuple[int, int]) -> Tensor:
    for stride, rows, columns in _grids(*size):
        if experts.shape[1:] == (rows, columns):
            grid = experts
        elif experts.ndim == 2 and experts.shape[1] - rows * columns in (0, 1):
            # A class token comes before the positions.
            grid = experts[:, experts.shape[1] - rows * columns :].reshape(-1, rows, columns)
        else:
            continue
        row, column = (
            (torch.arange(length, device=grid.device) // stride).clamp(max=last - 1)
            for length, last in zip(size, (rows, columns), strict=True)
        )
        return grid[:, row[:, None], column]
    tokens = "x".join(str(length) for length in experts.shape[1:])
    raise UserError(f"{name} has {tokens} tokens, which are no grid over an image of {size[0]}x{size[1]}")


class ExpertStatistics:
    """Sums over a set; ``update`` after every forward pass.

    Args:
        model: with mixtures.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = dict(moe_layers(model))
        if not self.layers:
            raise UserError("this model has no experts: convert it first")
        # By layer: tokens, dropped share times tokens, entropy times tokens, then each expert's share times tokens.
        self.sums = {
            name: torch.zeros(3 + layer.num_experts, dtype=torch.float64) for name, layer in self.layers.items()
        }

    def update(self) -> None:
        """Add the last forward pass."""
        for name, layer in self.layers.items():
            routing = layer.routing
            if routing is None:
                raise RuntimeError(f"{name} has not routed anything yet: run the model first")
            tokens = len(routing.expert) if routing.counted is None else int(routing.counted.sum())
            found = load(routing)
            values = torch.cat([torch.tensor([1.0, found.dropped, found.entropy]), found.share.cpu()])
            self.sums[name] += tokens * values.double()

    def _means(self) -> Iterator[tuple[str, ResidualMoE, int, Tensor]]:
        ranks = gather_objects(self.sums)
        for name, layer in self.layers.items():
            total = torch.stack([sums[name] for sums in ranks]).sum(0)
            yield name, layer, int(total[0]), total[1:] / total[0].clamp(min=1)

    def rows(self) -> list[dict[str, Any]]:
        """A row a layer: tokens, smallest and largest load, dropped, entropy, residual over core, cosine."""
        rows = []
        for name, layer, tokens, means in self._means():
            row: dict[str, Any] = {"layer": name, "experts": layer.num_experts, "k": layer.k, "tokens": tokens}
            row |= {"smallest load": float(means[2:].min()), "largest load": float(means[2:].max())}
            row |= {"dropped": float(means[0]), "entropy": float(means[1])}
            row |= {"residual / core": float("nan"), "cosine": float("nan")}
            if _whole(layer):
                cosines = residual_cosines(layer)
                apart = cosines[~torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)]
                row |= {"residual / core": float(residual_norms(layer).mean())}
                row |= {"cosine": float(apart.mean()) if len(apart) else 0.0}
            rows.append(row)
        return rows

    def expert_rows(self) -> list[dict[str, Any]]:
        """A row an expert of each layer: its share of all choices, the size of its residual over the core's."""
        rows = []
        for name, layer, _, means in self._means():
            norms = residual_norms(layer).tolist() if _whole(layer) else [float("nan")] * layer.num_experts
            for expert, (share, norm) in enumerate(zip(means[2:].tolist(), norms, strict=True)):
                rows.append({"layer": name, "expert": expert, "load": share, "residual / core": norm})
        return rows


def _whole(layer: ResidualMoE) -> bool:
    """Whether residuals mean something here: all experts are on this process, and they are core + residual."""
    return layer.exchange is None and layer.form == "factorised"


def contingency(experts: Tensor, groups: Tensor, num_experts: int, num_groups: int, ignore_index: int = 255) -> Tensor:
    """How often each expert meets each group: counts (E, G).

    Args:
        experts: (B, H, W) of ``expert_maps``.
        groups: (B, H, W) class of each pixel, or (B,) domain of each image.
        num_experts: E.
        num_groups: G.
        ignore_index: group of pixels that do not count.
    """
    groups = groups.view(-1, 1, 1).expand_as(experts) if groups.ndim == 1 else groups
    counted = groups != ignore_index
    pairs = experts[counted] * num_groups + groups[counted].long()
    return pairs.bincount(minlength=num_experts * num_groups).view(num_experts, num_groups)


def shared_information(counts: Tensor | np.ndarray) -> float:
    """Mutual information of expert and group over the group's entropy: 0 independent, 1 the expert tells the group.

    Args:
        counts: (E, G) of ``contingency``.
    """
    joint = torch.as_tensor(counts).double()
    joint = joint / joint.sum().clamp(min=1)
    expert, group = joint.sum(1), joint.sum(0)
    entropy = torch.special.entr(group).sum()
    together = torch.special.entr(joint).sum()
    shared = torch.special.entr(expert).sum() + entropy - together
    return float((shared / entropy).clamp(0, 1)) if entropy > 0 else 0.0


def colours(experts: Tensor | np.ndarray, num_experts: int) -> np.ndarray:
    """An expert map as an image: (H, W) -> (H, W, 3) uint8, a colour an expert, the same in every figure."""
    angle = np.arange(num_experts) / num_experts
    value = np.where(np.arange(num_experts) % 2, 0.75, 1.0)
    palette = np.stack([_hue(angle + shift, value) for shift in (0, 1 / 3, 2 / 3)], axis=1)
    return (255 * palette).round().astype(np.uint8)[np.asarray(experts)]


def _hue(angle: np.ndarray, value: np.ndarray) -> np.ndarray:
    ramp = np.abs((6 * angle) % 6 - 3) - 1
    return value * (0.25 + 0.75 * ramp.clip(0, 1))
