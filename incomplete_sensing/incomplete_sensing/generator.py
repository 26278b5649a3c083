"""Learn to reconstruct signals of a small random generator x = W_2 relu(W_1 z), by the losses of the papers.

Many small reconstruction networks f(y, A) = net(A^+ y) are trained at once, one a trial, as stacked matrices: their
losses add up, so none feels another. Batched over trials T: ``operators`` (T, G, m, n), ``signals`` (T, G, N, n).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

METHODS = ("mc", "moi", "supervised")


def generate(weights: tuple[Tensor, Tensor], latents: Tensor) -> Tensor:
    """x = W_2 relu(W_1 z), scaled to unit mean square: latents (T, M, k), weights (T, h, k), (T, n, h); (T, M, n)."""
    signals = torch.relu(latents @ weights[0].mT) @ weights[1].mT
    return signals / signals.square().mean((1, 2), keepdim=True).sqrt()


def initial_networks(generator: torch.Generator, n: int, width: int) -> list[Tensor]:
    """Weights and biases of a network n - width - width - n, as He draws them, the last layer small."""
    sizes = (n, width, width, n)
    tensors = []
    for layer, (inward, outward) in enumerate(pairwise(sizes)):
        gain = 0.1 if layer == 2 else 1.0
        tensors += [
            torch.randn(inward, outward, generator=generator) * gain * (2 / inward) ** 0.5,
            torch.zeros(1, outward),
        ]
    return tensors


def reconstruct(networks: list[Tensor], inputs: Tensor) -> Tensor:
    """net(A^+ y) with a residual connection: inputs (T, M, n), each trial by its own network."""
    hidden = inputs
    for layer in range(0, 6, 2):
        hidden = torch.baddbmm(networks[layer + 1], hidden, networks[layer])
        if layer < 4:
            hidden = torch.relu(hidden)
    return inputs + hidden


def train_networks(
    operators: Tensor,
    signals: Tensor,
    networks: list[Tensor],
    method: str,
    steps: int = 1500,
    batch: int = 64,
    learning_rate: float = 2e-3,
) -> list[Tensor]:
    """Train one network a trial from its measurements Y_g = A_g X_g; Adam, cosine schedule; the trained networks.

    ``mc``: mean (A_g x_1 - y)^2, x_1 = f(y, A_g); ``moi`` adds the cross-operator term mean (f(A_j x_1, A_j) - x_1)^2,
    j going round the operators other than g (arXiv 2201.12151); ``supervised``: mean (x_1 - x)^2. Only ``supervised``
    uses the signals beyond measuring them.

    Args:
        operators: (T, G, m, n); rows of zeros count nothing, so trials with different m fit one batch.
        signals: (T, G, N, n).
        networks: six tensors (T, in, out) or (T, 1, out), see ``initial_networks``.
        batch: signals a step, shared evenly by the operators.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method}: one of {', '.join(METHODS)}")
    families = operators.shape[1]
    inverse = torch.linalg.pinv(operators.double(), rtol=1e-9).to(operators.dtype)
    forward, backward = operators.mT, inverse.mT  # act on rows: y = x A^T, A^+ y = y (A^+)^T
    rows = (operators.abs().amax(3) > 0).sum(2).to(operators.dtype)  # (T, G)
    measured = signals @ forward
    inputs = measured @ backward
    share = max(1, batch // families)
    blocks = max(1, signals.shape[2] // share)
    networks = [tensor.clone().requires_grad_() for tensor in networks]
    optimizer = torch.optim.Adam(networks, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def apply(values: Tensor) -> Tensor:
        return reconstruct(networks, values.flatten(1, 2)).reshape(values.shape)

    for step in range(steps):
        own = slice((step % blocks) * share, (step % blocks) * share + share)
        first = apply(inputs[:, :, own])
        if method == "supervised":
            loss = (first - signals[:, :, own]).square().mean((1, 2, 3)).sum()
        else:
            misfit = (first @ forward - measured[:, :, own]).square().sum(3).mean(2)
            loss = (misfit / rows).mean(1).sum()
            if method == "moi" and families > 1:
                turn = 1 + step % (families - 1)
                again = (first @ forward.roll(turn, 1)) @ backward.roll(turn, 1)
                loss = loss + (apply(again) - first).square().mean((1, 2, 3)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return [tensor.detach() for tensor in networks]


@torch.no_grad()
def relative_errors(operators: Tensor, signals: Tensor, networks: list[Tensor]) -> Tensor:
    """||f(A_g x, A_g) - x|| / ||x|| over all signals (T, G, N, n) of a trial: (T,)."""
    inverse = torch.linalg.pinv(operators.double(), rtol=1e-9).to(operators.dtype)
    inputs = (signals @ operators.mT @ inverse.mT).flatten(1, 2)
    truth = signals.flatten(1, 2)
    return (reconstruct(networks, inputs) - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
