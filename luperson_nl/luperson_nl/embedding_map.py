"""t-SNE (van der Maaten and Hinton, 2008), exact, for some hundred features: a map of a feature space."""

from __future__ import annotations

import numpy as np


def principal_components(features: np.ndarray, count: int) -> np.ndarray:
    """(n, d) -> (n, count), centred; fewer where there are fewer."""
    centred = features - features.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :count] * values[:count]


def tsne(features: np.ndarray, perplexity: float = 20.0, steps: int = 400, seed: int = 0) -> np.ndarray:
    """Places of features in a plane, (n, d) -> (n, 2).

    Memory and time grow with n squared. It begins with the first two principal components; ``seed`` draws a tiny jitter that
    separates equal rows.

    Args:
        features: (n, d).
        perplexity: the number of neighbours, roughly; less than a third of n is used.
        steps: of gradient descent, the first quarter with exaggerated neighbourhoods.
        seed: of the jitter.
    """
    count = len(features)
    reduced = principal_components(np.asarray(features, np.float64), 50)
    shares = _neighbourhoods(_squared(reduced), min(perplexity, max(1.0, (count - 1) / 3)))
    shares = np.maximum((shares + shares.T) / (2 * count), 1e-12)
    first = reduced[:, :2] if reduced.shape[1] > 1 else np.c_[reduced, np.zeros(count)]
    places = 1e-2 * first / max(first.std(), 1e-12) + 1e-4 * np.random.default_rng(seed).standard_normal((count, 2))
    velocity, gains = np.zeros_like(places), np.ones_like(places)
    rate = max(count / 12 / 4, 50.0)
    for step in range(steps):
        early = step < steps // 4
        near = 1 / (1 + _squared(places))
        np.fill_diagonal(near, 0)
        force = ((12.0 if early else 1.0) * shares - near / near.sum()) * near
        gradient = 4 * (force.sum(1)[:, None] * places - force @ places)
        agree = (gradient > 0) == (velocity > 0)
        gains = np.maximum(np.where(agree, 0.8 * gains, gains + 0.2), 0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
        places = places + velocity
        places -= places.mean(0)
    return places


def _squared(points: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(1)
    return np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)


def _neighbourhoods(squared: np.ndarray, perplexity: float) -> np.ndarray:
    """(n, n) conditional probabilities; the width of every row is found by halving, until its entropy is right."""
    count, target = len(squared), np.log(perplexity)
    low, high, precision = np.zeros(count), np.full(count, np.inf), np.ones(count) / max(squared.mean(), 1e-12)
    shares = np.zeros_like(squared)
    off = ~np.eye(count, dtype=bool)
    nearest = np.where(off, squared, np.inf).min(1, keepdims=True)
    for _ in range(60):
        shares = np.exp(-np.maximum(squared - nearest, 0) * precision[:, None]) * off
        shares /= shares.sum(1, keepdims=True)
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(1)
        wide = entropy > target
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isinf(high), 2 * precision, (low + high) / 2)
    return shares
