"""A whole RMoE Swin-T UperNet against the dense one: ratios of CPU time of a training step and of inference.

    OMP_NUM_THREADS=1 python benchmarks/model.py

512x512 pixels, batch 2, 150 classes; the dense model and its conversion (every second block of the last two stages, 8
experts, top-1, dropless) hold the same weights, and their outputs are compared first. One process, one thread, variants
interleaved, minimum of the repeats after a warm-up, ``time.process_time``. A training step is forward, backward and
AdamW. ``--size 128 --repeats 5`` is a quick look.
"""

import argparse
import copy
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import nn

from rmoe.models import backbone
from rmoe.models.segmenter import Segmenter, upernet
from rmoe.moe import auxiliary_losses, convert, diagnostics, moe_layers
from shared_utils import logging

CLASSES, WARM_UPS = 150, 1


def models(router_init_std: float = 1.0) -> dict[str, Segmenter]:
    """Dense and converted; a wide router spreads the tokens over the experts as a trained one does."""
    dense = upernet(backbone("swin_t", drop_path_rate=0.0), CLASSES)
    converted = copy.deepcopy(dense)
    convert(converted.backbone, capacity_factor=0.0, router_noise=0.0, router_init_std=router_init_std)
    return {"dense": dense, "rmoe": converted}


def training_step(
    model: Segmenter, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> None:
    """Forward, backward, update."""
    losses = [*model.losses(images, labels).values(), *(0.01 * v for v in auxiliary_losses(model).values())]
    optimizer.zero_grad()
    sum(losses).backward()
    optimizer.step()


@torch.inference_mode()
def inference(model: Segmenter, images: torch.Tensor) -> torch.Tensor:
    """Logits of every pixel."""
    return model(images)


def measure(size: int, batch: int, repeats: int) -> dict[str, dict[str, float]]:
    """CPU seconds of each model: {inference, training step}."""
    torch.manual_seed(0)
    pair = models()
    images, labels = torch.randn(batch, 3, size, size), torch.randint(CLASSES, (batch, size, size))
    with torch.inference_mode():
        wanted, found = (model.eval()(images) for model in pair.values())
    error = float((wanted - found).abs().max())
    assert error < 1e-4, f"the converted model differs by {error:.2g}"
    shares = [float(diagnostics.load(layer.routing).share.max()) for _, layer in moe_layers(pair["rmoe"])]
    print(f"largest difference of the outputs {error:.1e}; largest load of an expert {max(shares):.2f}", flush=True)
    optimizers = {name: torch.optim.AdamW(model.parameters(), 6e-5, fused=True) for name, model in pair.items()}
    best = {name: {"inference": float("inf"), "training step": float("inf")} for name in pair}
    for repeat in range(WARM_UPS + repeats):
        for name, model in pair.items():
            for job in ("inference", "training step"):
                model.train(job == "training step")
                start = time.process_time()
                if job == "inference":
                    inference(model, images)
                else:
                    training_step(model, optimizers[name], images, labels)
                seconds = time.process_time() - start
                print(f"  {repeat} {name} {job}: {seconds:.2f} s", flush=True)
                if repeat >= WARM_UPS:
                    best[name][job] = min(best[name][job], seconds)
    return best


def counted(size: int, pair: dict[str, nn.Module]) -> dict[str, float]:
    """RMoE over dense: operations of one image, parameters stored and met by a token."""
    image = torch.zeros(1, 3, size, size)
    flops = {name: diagnostics.flops(model.eval(), image) for name, model in pair.items()}
    parameters = {name: diagnostics.parameters(model) for name, model in pair.items()}
    return {
        "operations": flops["rmoe"] / flops["dense"],
        "parameters": parameters["rmoe"].total / parameters["dense"].total,
        "active parameters": parameters["rmoe"].active / parameters["dense"].active,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seconds = measure(arguments.size, arguments.batch, arguments.repeats)
    row = {job: seconds["rmoe"][job] / value for job, value in seconds["dense"].items()}
    title = f"RMoE over dense, Swin-T UperNet, {arguments.size}x{arguments.size}, batch {arguments.batch}, one thread"
    print(logging.table([row | counted(arguments.size, models())], f"{title}, torch {torch.__version__}"))
