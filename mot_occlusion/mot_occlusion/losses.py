"""The losses: centre heatmaps, regressions, and re-identification without identities (paper, sections 3.1 to 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from mot_occlusion.decode import gather_cells
from shared_utils import UserError, distributed

#: Of the detection terms, by head; ``giou`` is ours.
PUBLISHED_WEIGHTS = {"hm": 1.0, "wh": 0.1, "reg": 1.0, "occlusion": 0.5, "occlusion_offset": 0.5, "giou": 0.0}


def _share(count: Tensor, added: float = 0.0) -> Tensor:
    """The count over all ranks, a rank's share of it: so divided, losses that DDP averages are those of one process."""
    total = distributed.sum_over_ranks(count.float())
    return (total + added if added else total.clamp_min(1)) / distributed.world_size()


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced pixel-wise focal loss of CenterNet, over the number of peaks.

    With p = sigmoid clamped to [1e-4, 1 - 1e-4]:
    -(1 / N) [sum_{y=1} (1 - p)^2 log p + sum_{y<1} (1 - y)^4 p^2 log(1 - p)]; without any peak the second sum alone.

    Args:
        logits: (B, 1, h, w).
        target: (B, 1, h, w), 1 at a centre.
    """
    probability = torch.sigmoid(logits.float()).clamp(1e-4, 1 - 1e-4)
    peak = target.eq(1)
    positive = ((1 - probability) ** 2 * probability.log())[peak].sum()
    negative = ((1 - target) ** 4 * probability**2 * (1 - probability).log())[~peak].sum()
    return -(positive + negative) / _share(peak.sum())


def masked_l1_loss(maps: Tensor, cells: Tensor, mask: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error over the values at the objects' cells.

    The divisor is (objects x channels) + 1e-4.

    Args:
        maps: (B, c, h, w).
        cells: (B, k) flat cells.
        mask: (B, k), which of them count.
        target: (B, k, c).
    """
    predicted = gather_cells(maps, cells).float()
    weight = mask[..., None].to(predicted).expand_as(predicted)
    return ((predicted - target) * weight).abs().sum() / _share(weight.sum(), 1e-4)


def giou_loss(wh: Tensor, reg: Tensor, cells: Tensor, mask: Tensor, target_wh: Tensor, target_reg: Tensor) -> Tensor:
    """Mean of 1 - GIoU between the boxes that the 3 x 3 cells round each centre name and that of the object.

    A cell names the box from its place + reg - wh[:2] to its place + reg + wh[2:]. Cells beyond the map, and those that
    lie nearer to another object's centre cell, are left out. (The published loss supervises the size at one cell, by L1.)

    Args:
        wh: (B, 4, h, w) left, top, right, bottom distances.
        reg: (B, 2, h, w).
        cells: (B, k) flat cells of the centres.
        mask: (B, k), which of them count.
        target_wh: (B, k, 4).
        target_reg: (B, k, 2).
    """
    height, width = wh.shape[2:]
    centres = torch.stack((cells % width, cells // width), 2)
    step = torch.arange(-1, 2, device=cells.device)
    around = centres[:, :, None] + torch.cartesian_prod(step, step)  # (B, k, 9, 2)
    within = ((around >= 0) & (around < around.new_tensor([width, height]))).all(3)
    distance = (around[:, :, :, None] - centres[:, None, None]).square().sum(4)  # to every centre (B, k, 9, k)
    nearest = distance.masked_fill(~mask[:, None, None], int(1e9)).amin(3)
    own = (around - centres[:, :, None]).square().sum(3)
    used = mask[..., None] & within & (own <= nearest)
    flat = (around[..., 1] * width + around[..., 0]).masked_fill(~within, 0).flatten(1)
    middle = around.flatten(1, 2) + gather_cells(reg, flat).float()
    extent = gather_cells(wh, flat).float()
    named = torch.cat((middle - extent[..., :2], middle + extent[..., 2:]), 2)[used.flatten(1)]
    middle = centres + target_reg
    target = torch.cat((middle - target_wh[..., :2], middle + target_wh[..., 2:]), 2)
    losses = generalized_box_iou_loss(named, target[:, :, None].expand(-1, -1, 9, -1)[used])
    return losses.sum() / _share(used.sum())


class UnsupervisedReIDLoss(nn.Module):
    """Re-identification from two frames of one video, without identities (paper, section 3.2).

    All N + M embeddings are compared, f f^T without its diagonal; a placeholder column stands for "in no other frame".
    A = softmax of t [f f^T | placeholder] along rows, t = log(columns + 1) / epsilon. Then, with m the margin,

    - intra (strong): objects of one frame differ: sum of A within either frame;
    - inter (weak): a row commits, to one object or the placeholder: sum of relu(second largest + m - largest);
    - cycle: to and fro agree: sum of |A[cur, pre] - A[pre, cur]^T|.

    The loss is their sum over the batch over the number of objects. In a negative pair, frames of different videos, all
    similarities shall vanish: sum of A over objects, and relu(largest + m - A[placeholder]) with the placeholder at 0.

    Args:
        margin: m; 0 or less: the margin that a certain row reaches, (e^t - e^-t) / ((N + M - 1) e^-t + e^t).
        placeholder: ``mean`` or ``median`` of the similarities (detached), ``zero``, or ``none`` for no such column.
        epsilon: of the temperature t.
        temperature: a fixed t.
        terms: which of ``intra``, ``inter``, ``cycle`` count.
    """

    def __init__(
        self,
        margin: float = 0.5,
        placeholder: Literal["mean", "median", "zero", "none"] = "mean",
        epsilon: float = 0.5,
        temperature: float | None = None,
        terms: Sequence[str] = ("intra", "inter", "cycle"),
    ) -> None:
        super().__init__()
        self.margin, self.placeholder, self.epsilon = margin, placeholder, epsilon
        self.temperature, self.terms = temperature, tuple(terms)

    def forward(
        self,
        current: Sequence[Tensor],
        previous: Sequence[Tensor],
        negative: Sequence[bool] | None = None,
    ) -> dict[str, Tensor]:
        """The loss of a batch of pairs.

        Args:
            current: per pair the embeddings (N, D), of any length.
            previous: per pair the embeddings (M, D) of the other frame.
            negative: which pairs are of two different videos.

        Returns:
            ``loss`` and the sums over the batch behind it: ``intra``, ``inter``, ``cycle``, ``unrelated``,
            ``num_objects`` (pairs with an empty side left out), and all ``similarities``.
        """
        negative = [False] * len(current) if negative is None else negative
        # Whatever happens, the loss hangs on the graph: a rank without objects still takes part in the backward pass.
        zero = sum((e.float().sum() * 0 for e in (*current, *previous)), torch.zeros(()).to(current[0].device))
        sums = {name: zero for name in ("intra", "inter", "cycle", "unrelated")}
        num_objects, similarities = 0, []
        for cur, pre, unrelated in zip(current, previous, negative, strict=True):
            if len(cur) == 0 or len(pre) == 0:
                continue
            with torch.autocast(cur.device.type, enabled=False):
                terms, similarity = self._pair(cur.float(), pre.float(), bool(unrelated))
            sums = {name: sums[name] + terms.get(name, 0) for name in sums}
            num_objects += len(cur) + len(pre)
            similarities.append(similarity)
        divisor = _share(torch.tensor(num_objects, device=zero.device))
        terms = {name: value / divisor for name, value in sums.items()}
        return {
            **terms,
            "loss": zero + sum(terms[name] for name in (*self.terms, "unrelated")),
            "num_objects": torch.tensor(float(num_objects)),
            "similarities": torch.cat(similarities) if similarities else zero.detach().expand(1),
        }

    def _pair(self, current: Tensor, previous: Tensor, negative: bool) -> tuple[dict[str, Tensor], Tensor]:
        split, count = len(current), len(current) + len(previous)
        embeddings = F.normalize(torch.cat((current, previous)), dim=1)
        diagonal = torch.eye(count, dtype=torch.bool, device=embeddings.device)
        similarity = embeddings @ embeddings.T
        others = similarity.detach()[~diagonal]
        logits = similarity.masked_fill(diagonal, -math.inf)
        if self.placeholder != "none":
            value = 0.0
            if self.placeholder != "zero" and not negative:
                value = others.mean() if self.placeholder == "mean" else others.median()
            logits = torch.cat((logits, logits.new_ones(count, 1) * value), 1)
        temperature = self.temperature or math.log(logits.shape[1] + 1) / self.epsilon
        assignment = torch.softmax(temperature * logits, 1)
        margin = self.margin
        if margin <= 0:
            high, low = math.exp(temperature), math.exp(-temperature)
            margin = (high - low) / ((count - 1) * low + high)
        if negative:
            strongest = assignment[:, :count].amax(1)
            kept = assignment[:, count] if self.placeholder != "none" else torch.zeros_like(strongest)
            return {
                "unrelated": assignment[:, :count].sum(),
                "inter": F.relu(strongest + margin - kept).sum(),
            }, others
        first, second = assignment.topk(2, 1).values.unbind(1)
        return {
            "intra": assignment[:split, :split].sum() + assignment[split:, split:count].sum(),
            "inter": F.relu(second + margin - first).sum(),
            "cycle": (assignment[:split, split:count] - assignment[split:, :split].T).abs().sum(),
        }, others


class TrackingLoss(nn.Module):
    """Detection, occlusion and re-ID losses of a batch of pairs, weighted by two learned uncertainties (section 3.4).

    detection = L_hm + 0.1 L_wh + L_reg + 0.5 L_occlusion + 0.5 L_occlusion_offset, and, where its weight is not 0 (as
    published), w L_giou of whole boxes (``giou_loss``);
    total = (exp(-s_det) detection + exp(-s_id) id_weight L_id + s_det + s_id) / 2. Heads that the network lacks leave
    their term out; without an ``id`` head, or without ``reid``, the total is ``detection``.

    ``s_det`` and ``s_id`` are parameters: give them to the optimiser.

    Args:
        reid: the loss of the embeddings; None: they are not trained.
        id_weight: of that loss.
        weights: of the detection terms by head, and of ``giou``; those above where not given.

    Raises:
        UserError: a weight of another name, or below 0.
    """

    def __init__(
        self,
        reid: UnsupervisedReIDLoss | None = None,
        id_weight: float = 1.0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.reid, self.id_weight = reid, id_weight
        self.weights = PUBLISHED_WEIGHTS | dict(weights or {})
        for name, weight in self.weights.items():
            if name not in PUBLISHED_WEIGHTS or not weight >= 0:
                raise UserError(
                    f"loss weight {name}: {weight}: the names are {', '.join(PUBLISHED_WEIGHTS)}, from 0 on"
                )
        self.s_det = nn.Parameter(torch.tensor([-1.85]))
        self.s_id = nn.Parameter(torch.tensor([-1.05]))

    def forward(
        self,
        maps: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        previous_maps: Mapping[str, Tensor] | None = None,
        previous_targets: Mapping[str, Tensor] | None = None,
        negative: Sequence[bool] | None = None,
    ) -> dict[str, Tensor]:
        """The loss of a batch of pairs.

        Args:
            maps: of the current frames, as the network gives them.
            targets: as ``detection_targets`` gives them, batched. ``reid_mask`` names the objects that re-ID compares;
                without it they are those of ``reg_mask``.
            previous_maps: of the adjacent frames, of which only ``id`` is read.
            previous_targets: of these, of which only ``ind`` and the mask are read.
            negative: which pairs are of two different videos.

        Returns:
            ``loss`` and its parts, named after the heads, with ``id`` and the parts of that.
        """
        parts = {}
        for name in ("hm", "occlusion"):
            if name in maps:
                parts[name] = focal_loss(maps[name], targets[name])
        for name, index, offset, mask in (
            ("wh", "ind", "wh", "reg_mask"),
            ("reg", "ind", "reg", "reg_mask"),
            ("occlusion_offset", "occ_ind", "occ_offset", "occ_mask"),
        ):
            if name in maps:
                parts[name] = masked_l1_loss(maps[name], targets[index], targets[mask], targets[offset])
        if self.weights["giou"] and "wh" in maps and "reg" in maps:
            objects = (targets[name] for name in ("ind", "reg_mask", "wh", "reg"))
            parts["giou"] = giou_loss(maps["wh"], maps["reg"], *objects)
        # Always in this order, so that the sum is the same to the last bit. A tensor, as every network has some head.
        detection = cast(Tensor, sum(weight * parts[name] for name, weight in self.weights.items() if name in parts))
        if self.reid is None or "id" not in maps:
            return {**parts, "loss": detection}
        assert previous_maps is not None and previous_targets is not None, "embeddings are compared between two frames"
        sides = [
            [rows[mask.bool()] for rows, mask in zip(gather_cells(m["id"], t["ind"]), _reid_mask(t), strict=True)]
            for m, t in ((maps, targets), (previous_maps, previous_targets))
        ]
        reid = self.reid(*sides, negative)
        similarities = reid.pop("similarities")
        loss = 0.5 * (
            torch.exp(-self.s_det) * detection
            + torch.exp(-self.s_id) * self.id_weight * reid["loss"]
            + self.s_det
            + self.s_id
        )
        details = {f"id_{name}": value.detach() for name, value in reid.items() if name != "loss"}
        details["similarities"] = similarities
        return {**parts, "id": reid["loss"], **details, "loss": loss.squeeze()}


def _reid_mask(targets: Mapping[str, Tensor]) -> Tensor:
    return targets["reid_mask"] if "reid_mask" in targets else targets["reg_mask"]
