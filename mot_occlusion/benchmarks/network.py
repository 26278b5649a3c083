"""The deformable layer and the whole DLA-34 on the CPU against torchvision's layer, and what surrounds the network.

One thread, process time, both sides in turn in one process, best of several; the table prints ratios.
"""

import sys
import time
from functools import partial

import numpy as np
import torch
import torchvision
from torch import nn

from mot_occlusion.data.synthetic_crowd import render_crowd
from mot_occlusion.decode import Letterbox, decode_boxes, decode_occlusions, embeddings_at
from mot_occlusion.models import DLA34
from mot_occlusion.models.deform import DCN
from mot_occlusion.targets import detection_targets
from shared_utils import cli, logging


class TorchvisionDCN(DCN):
    """The same layer through torchvision's operator."""

    def forward(self, x):
        predicted = self.conv_offset_mask(x)
        split = predicted.shape[1] // 3 * 2
        offset, mask = predicted[:, :split], torch.sigmoid(predicted[:, split:])
        return torchvision.ops.deform_conv2d(x, offset, self.weight, self.bias, self.stride, self.padding, mask=mask)


def seconds(*functions, repeats: int) -> list[float]:
    """The least process time of each, run in turn."""
    best = [float("inf")] * len(functions)
    for _ in range(repeats):
        for number, function in enumerate(functions):
            start = time.process_time()
            function()
            best[number] = min(best[number], time.process_time() - start)
    return best


def _spread(layer: DCN) -> DCN:
    """Offsets of about a cell, as trained layers have them."""
    nn.init.normal_(layer.conv_offset_mask.weight, std=0.5 / (3 * layer.weight.shape[1] ** 0.5))
    return layer.eval()


def step(layer: DCN, x: torch.Tensor) -> None:
    layer.zero_grad()
    layer(x.requires_grad_()).sum().backward()


def layers(repeats: int) -> list[dict]:
    rows = []
    for channels, out, height, width in ((64, 64, 152, 272), (128, 64, 76, 136), (256, 128, 38, 68)):
        ours = _spread(DCN(channels, out))
        theirs = TorchvisionDCN(channels, out).eval()
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(1, channels, height, width)
        low, half = x.bfloat16(), DCN(channels, out).bfloat16().eval()
        half.load_state_dict(ours.state_dict())
        with torch.no_grad():
            difference = (ours(x) - theirs(x)).abs().max().item()
            a, b, c = seconds(partial(theirs, x), partial(ours, x), partial(half, low), repeats=repeats)
        d, e = seconds(partial(step, theirs, x), partial(step, ours, x), repeats=max(1, repeats // 2))
        rows.append(
            {
                "layer": f"{channels} -> {out}, {height} x {width}",
                "faster, inference": a / b,
                "bfloat16": a / c,
                "with gradients": d / e,
                "largest difference": difference,
            }
        )
    return rows


def whole(repeats: int) -> list[dict]:
    torch.manual_seed(0)
    ours = DLA34().eval()
    for module in ours.modules():
        if isinstance(module, DCN):
            _spread(module)
    theirs = DLA34().eval()
    theirs.load_state_dict(ours.state_dict())
    for module in theirs.modules():
        if isinstance(module, DCN):
            module.__class__ = TorchvisionDCN
    image = torch.rand(1, 3, 608, 1088)
    fast = image.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        difference = max(
            (a - b).abs().max().item() for a, b in zip(ours(image).values(), theirs(image).values(), strict=True)
        )
        a, b = seconds(lambda: theirs(image), lambda: ours(fast), repeats=repeats)
    return [{"network": "DLA-34, 608 x 1088", "faster": a / b, "largest difference": difference}]


def around(repeats: int) -> list[dict]:
    """Milliseconds after the network at the published size, and images a second before it."""
    maps = {name: torch.randn(1, c, 152, 272) for name, c in DLA34().heads.items()}
    letterbox = Letterbox.of((1080, 1920), (608, 1088))

    def after():
        decoded = decode_boxes(maps["hm"], maps["wh"], maps["reg"], 500)
        centres, _ = decode_occlusions(maps["occlusion"], maps["occlusion_offset"], 2000)
        embeddings_at(maps["id"], decoded.cells)
        letterbox.cells_to_image(decoded.boxes[0].numpy(), (152, 272))
        letterbox.cells_to_image(centres[0].numpy(), (152, 272))

    def published():
        """Normalise the whole map, then gather; map points one by one."""
        decoded = decode_boxes(maps["hm"], maps["wh"], maps["reg"], 500)
        centres, _ = decode_occlusions(maps["occlusion"], maps["occlusion_offset"], 2000)
        everything = nn.functional.normalize(maps["id"], dim=1).permute(0, 2, 3, 1).reshape(1, -1, 128)
        everything.gather(1, decoded.cells[..., None].expand(-1, -1, 128))
        affine = np.array([[7.06, 0, 0], [0, 7.06, -3.0]])
        for point in np.concatenate((decoded.boxes[0].numpy().reshape(-1, 2), centres[0].numpy())):
            affine @ np.array([point[0], point[1], 1.0])

    boxes = np.concatenate((np.random.rand(100, 2), 0.02 + 0.1 * np.random.rand(100, 2)), 1)  # noqa: NPY002
    torch.manual_seed(0)
    a, b, c = seconds(published, after, lambda: detection_targets(boxes, (152, 272)), repeats=10 * repeats)
    return [
        {"what": "boxes, occlusions, embeddings to image, K = 500, 2000: ms", "value": 1e3 * b},
        {"what": "  times faster than normalising and mapping everything", "value": a / b},
        {"what": "targets of 100 people at 152 x 272: ms", "value": 1e3 * c},
        {"what": "pairs a second of the loader, 320 x 192", "value": pairs_per_second()},
        {"what": "procedural crowd, frames a second", "value": crowd_per_second()},
    ]


def pairs_per_second() -> float:
    from mot_occlusion.data.datamodule import TrackingDataModule

    data = TrackingDataModule(input_size=(192, 320), max_objects=64, crowd=(2, 1, 1, 60))
    pairs = data.training_pairs
    start = time.process_time()
    for index in range(60):
        _ = pairs[(0, index)]
    return 60 / (time.process_time() - start)


def crowd_per_second() -> float:
    start = time.process_time()
    for _ in render_crowd(0, 40):
        pass
    return 40 / (time.process_time() - start)


def benchmark(repeats: int = 3) -> None:
    """Compare with torchvision on one thread.

    Args:
        repeats: runs of each side; the best counts.
    """
    torch.set_num_threads(1)
    print(logging.table(layers(repeats), "deformable layer, times faster than torchvision's"), end="\n\n")
    print(logging.table(whole(repeats), "whole network, times faster than with torchvision's layer"), end="\n\n")
    print(logging.table(around(repeats), "around the network"))


if __name__ == "__main__":
    sys.exit(cli.run(benchmark))
