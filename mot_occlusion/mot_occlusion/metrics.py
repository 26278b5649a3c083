"""How well people are found in single frames and recognised from one frame to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mot_occlusion.decode import embeddings_at

#: Who counts: for detection people seen to a quarter; for recognition to a half, as an embedding is read at the middle,
#: or nearly whole.
SEEN, HALF_SEEN, WHOLE_SEEN = 0.25, 0.5, 0.8


def rank1(query: Tensor, query_ids: Tensor, gallery: Tensor, gallery_ids: Tensor) -> tuple[int, int]:
    """How many queries' most similar gallery embedding is of the same person, of those who are in the gallery.

    Args:
        query: (N, D) unit vectors.
        query_ids: (N,).
        gallery: (M, D) unit vectors.
        gallery_ids: (M,).

    Returns:
        (hits, queries).
    """
    present = torch.isin(query_ids, gallery_ids)
    if not present.any():
        return 0, 0
    nearest = (query[present] @ gallery.T).argmax(1)
    return int((gallery_ids[nearest] == query_ids[present]).sum()), int(present.sum())


def recognition(maps: Tensor, people: Sequence[Mapping[str, Tensor]], seen: float = HALF_SEEN) -> tuple[int, int]:
    """Rank-1 hits and queries among the people who are seen to ``seen`` or more in two frames.

    Args:
        maps: (2, c, h, w) embedding maps of stride 4.
        people: of either frame ``boxes`` (N, 4) xyxy in pixels of the network input, ``ids`` (N,), ``visibility`` (N,).
        seen: who is seen less does not count.
    """
    sides, (height, width) = [], maps.shape[2:]
    for number, side in enumerate(people):
        x, y = ((side["boxes"][:, :2] + side["boxes"][:, 2:]) / 8).floor().long().unbind(1)
        chosen = (side["visibility"] >= seen) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
        cells = (y * width + x)[chosen].to(maps.device)
        sides += [embeddings_at(maps[number : number + 1], cells[None])[0], side["ids"][chosen].to(maps.device)]
    return rank1(*sides)


def match_boxes(boxes: Tensor, truth: Tensor, free: Tensor, threshold: float = 0.5) -> Tensor:
    """What each detection, taken by falling score, is: 1 a hit, 0 a false alarm, -1 neither (its match does not count).

    Args:
        boxes: (N, 4) xyxy by falling score.
        truth: (M, 4) xyxy.
        free: (M,) which truths count neither as found nor as missed.
        threshold: of the IoU.
    """
    verdict = torch.zeros(len(boxes), dtype=torch.long)
    if len(truth) == 0 or len(boxes) == 0:
        return verdict
    overlap, taken = box_iou(boxes.float(), truth.float()), torch.zeros(len(truth), dtype=torch.bool)
    for row in range(len(boxes)):
        candidates = overlap[row].masked_fill(taken.to(overlap.device), -1)
        best = int(candidates.argmax())
        if candidates[best] >= threshold:
            taken[best] = True
            verdict[row] = -1 if free[best] else 1
    return verdict


def average_precision(scores: Tensor, verdicts: Tensor, num_truths: int) -> float:
    """Area under the precision-recall curve, precision made monotone; verdicts as of ``match_boxes``.

    Not that of torchmetrics, which knows no truths that count neither way (people who are hardly seen) and interpolates
    at 101 points.
    """
    counted = verdicts >= 0
    if num_truths == 0 or not counted.any():
        return 0.0
    order = scores[counted].argsort(descending=True, stable=True)
    hits = verdicts[counted][order].double().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    precision = precision.flip(0).cummax(0).values.flip(0)
    recall = torch.cat((torch.zeros(1, dtype=torch.float64), hits / num_truths))
    return float((precision * recall.diff()).sum())
