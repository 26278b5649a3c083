"""Average query expansion: every feature becomes the weighted mean of its nearest ones, itself included."""

from __future__ import annotations

import numpy as np
import torch

from luperson_nl.retrieval.distances import Cosine, chunks, nearest


def expand(
    query: np.ndarray, gallery: np.ndarray, count: int = 5, alpha: float = 3.0, device: str | torch.device = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Expanded features of query and gallery, not normalised.

    Args:
        query, gallery: (q, d) and (g, d), of any length; the neighbours are looked for among all of them.
        count: neighbours, itself included; no more than there are features.
        alpha: the weights are cosine^alpha.
        device: where products of features are computed.
    """
    features = np.concatenate([query, gallery])
    count = min(count, len(features))
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = Cosine(directions, directions, device)
    expanded = np.empty_like(features)
    for rows in chunks(*distances.shape):
        column, distance = nearest(distances.of(rows), count)
        cosine = 1 - distance
        weight = np.sign(cosine) * np.abs(cosine) ** np.float32(alpha)
        expanded[rows] = np.einsum("rk,rkd->rd", weight, features[column]) / count
    return expanded[: len(query)], expanded[len(query) :]
