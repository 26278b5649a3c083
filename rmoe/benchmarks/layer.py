"""The layer against a dense feed-forward layer, a loop over experts and one-hot dispatch: ratios of CPU time.

    OMP_NUM_THREADS=1 python benchmarks/layer.py

Forward and backward on the same input and weights, top-1 of 8 experts, fresh residuals, dropless (bmm: padded to the
largest group; one-hot: capacity of the largest group, so that all compute the same, which is checked first). One
process, one thread, variants interleaved, minimum of 7 after 2 warm-ups, ``time.process_time``. tutel is measured where
it can be imported.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch.nn import functional

from rmoe.moe import FeedForward, ResidualMoE
from rmoe.moe.convert import from_feed_forward
from shared_utils import logging

SIZES = {"stage 3": (2048, 384, 1536), "stage 4": (512, 768, 3072), "tiny": (2048, 128, 512)}
EXPERTS, WARM_UPS, REPEATS = 8, 2, 7


def one_hot(layer: ResidualMoE, x: torch.Tensor) -> torch.Tensor:
    """GShard's dispatch: tensors of one-hot slots, einsum into buffers of equal capacity, einsum back."""
    probability = layer.router(x).softmax(1)
    chosen = probability.argmax(1)
    mask = functional.one_hot(chosen, EXPERTS).to(x.dtype)
    capacity = int(mask.sum(0).max())
    slot = ((mask.cumsum(0) - 1) * mask).sum(1).long()
    dispatch = mask[:, :, None] * functional.one_hot(slot, capacity).to(x.dtype)[:, None, :]
    gate = probability.gather(1, chosen[:, None])
    combine = dispatch * (1 + (gate - gate.detach()))[:, :, None]
    weights = layer.expert_weights()
    buffers = torch.einsum("tec,td->ecd", dispatch, x)
    hidden = torch.baddbmm(weights.fc1_bias[:, None], buffers, weights.fc1_weight.transpose(1, 2))
    out = torch.baddbmm(weights.fc2_bias[:, None], functional.gelu(hidden), weights.fc2_weight.transpose(1, 2))
    return torch.einsum("tec,ecd->td", combine, out)


def tutel_layer(dim: int, hidden: int):
    """tutel's layer of the same widths, capacity factor 1.25; None where it cannot be imported."""
    try:
        from tutel import moe
    except ImportError:
        return None
    return moe.moe_layer(
        gate_type={"type": "top", "k": 1, "capacity_factor": 1.25, "fp32_gate": True},
        model_dim=dim,
        experts={
            "type": "ffn",
            "count_per_node": EXPERTS,
            "hidden_size_per_expert": hidden,
            "activation_fn": functional.gelu,
        },
    )


def measure(tokens: int, dim: int, hidden: int) -> dict[str, float]:
    """CPU seconds of each variant, forward and backward."""
    torch.manual_seed(0)
    x = torch.randn(tokens, dim, requires_grad=True)
    gradient = torch.randn(tokens, dim)
    dense = FeedForward(dim, hidden)
    layer = from_feed_forward(dense, router_noise=0.0, capacity_factor=0.0, router_init_std=1.0)
    merged = from_feed_forward(
        dense, router_noise=0.0, capacity_factor=0.0, router_init_std=1.0, param="merged", overflow="zero"
    )
    merged.router.load_state_dict(layer.router.state_dict())

    def with_backend(module: ResidualMoE, backend: str):
        def run(x: torch.Tensor) -> torch.Tensor:
            module.backend = backend
            return module(x)

        return run

    variants = {"dense": dense}
    variants |= {f"core + residual, {name}": with_backend(layer, name) for name in ("grouped", "unbind", "bmm", "loop")}
    variants |= {"merged, grouped": with_backend(merged, "grouped"), "one-hot": lambda x: one_hot(layer, x)}
    wanted = dense(x)
    for name, run in variants.items():
        error = float((run(x) - wanted).detach().abs().max())
        assert error < 1e-4, f"{name} differs from the dense layer by {error:.2g}"
    if (tutel := tutel_layer(dim, hidden)) is not None:
        variants["tutel, capacity 1.25"] = tutel
    best = dict.fromkeys(variants, float("inf"))
    for repeat in range(WARM_UPS + REPEATS):
        for name, run in variants.items():
            for tensor in (x, *dense.parameters(), *layer.parameters(), *merged.parameters()):
                tensor.grad = None
            start = time.process_time()
            run(x).backward(gradient)
            if repeat >= WARM_UPS:
                best[name] = min(best[name], time.process_time() - start)
    return best


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = []
    for title, size in SIZES.items():
        seconds = measure(*size)
        rows.append({"size": "{}: {} tokens, {}/{}".format(title, *size)} | {
            name: value / seconds["dense"] for name, value in seconds.items()
        })  # fmt: skip
    print(logging.table(rows, f"time over the dense layer's, torch {torch.__version__}, one thread"))
