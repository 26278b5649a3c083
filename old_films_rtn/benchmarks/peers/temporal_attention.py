"""The other way to spread the colour of key-frames, small and written out: temporal convolutions and source-reference attention.

After Iizuka and Simo-Serra, "DeepRemaster" (SIGGRAPH Asia 2019): no flow; a film's lightness goes through convolutions over
space and time, its places ask the key-frames by attention, and convolutions over space and time make colour of the answer.
With skip connections, which theirs has not: without them colour does not keep to edges in so short a training.

    python benchmarks/peers/temporal_attention.py --steps 4000 --out runs/temporal_attention.safetensors

trains it on the batches, with the loss and the schedule of `train_colour.py --config configs/colour_bundled.yaml`.
"""

import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared_utils import cli

WIDTHS = (16, 32, 64)


def _space(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.1))


class _Time(nn.Module):
    """A convolution of 3x3x3 and its activation, of the frames (t, c, h, w) of a clip: the frame before, the frame and the one
    behind it as channels of one convolution over space, which is the same and ten times as fast on a CPU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.space = _space(3 * inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        beyond = torch.zeros_like(x[:1])
        return self.space(torch.cat((torch.cat((beyond, x[:-1])), x, torch.cat((x[1:], beyond))), dim=1))


class TemporalAttention(nn.Module):
    """a and b (t, 2, h, w), divided by 110, of a clip (t, 4, h, w) as ``ColourNetwork`` takes it; h and w are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.source = nn.ModuleList(
            (
                _Time(1, first),
                nn.Sequential(_Time(first, second, 2), _Time(second, second)),
                nn.Sequential(_Time(second, third, 2), _Time(third, third)),
            )
        )
        self.reference = nn.Sequential(
            *(_space(3, first), _space(first, second, 2), _space(second, second)),
            *(_space(second, third, 2), _space(third, third)),
        )
        self.query, self.key, self.value = nn.Linear(third, 32), nn.Linear(third, 32), nn.Linear(third, third)
        self.share = nn.Parameter(torch.ones(()))
        self.middle = nn.Sequential(_Time(third, third), _Time(third, third))
        self.up = nn.ModuleList((_Time(third, second), _Time(second, first)))
        self.joined = nn.ModuleList((_Time(second, second), _Time(first, first)))
        self.out = nn.Conv2d(first, 2, 3, padding=1)

    def forward(self, clip: Tensor) -> Tensor:
        """See the class; exactly what is given where it is given."""
        levels = [clip[:, :1]]
        for layer in self.source:
            levels.append(layer(levels[-1]))
        features = levels[-1]
        given = self.reference(clip[clip[:, 3, 0, 0] > 0][:, :3]).movedim(1, -1).flatten(0, 2)
        asking = self.query(features.movedim(1, -1).flatten(1, 2))
        alike = asking @ self.key(given).T / math.sqrt(asking.shape[-1])
        answer = (alike.softmax(-1) @ self.value(given)).transpose(1, 2)
        x = self.middle(features + self.share * answer.view_as(features))
        for up, joined, skip in zip(self.up, self.joined, (levels[-2], levels[-3]), strict=True):
            x = F.interpolate(up(x), size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = joined(x + skip)
        return torch.where(clip[:, 3:] > 0, clip[:, 1:3], torch.tanh(self.out(x)))


def train(
    steps: int = 4000,
    out: str = "runs/temporal_attention.safetensors",
    side: int = 80,
    frames: int = 8,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> None:
    """Train it and say how much CPU time that took.

    Args:
        steps: as many as take the CPU time that is to be compared.
        out: file for the weights.
        side: of the clips, in pixels.
        frames: of a clip.
        learning_rate: at the beginning of the cosine.
        seed: of weights and clips.
    """
    from old_films_rtn.data.colour import ColourDataModule
    from old_films_rtn.models.colour import AB_SCALE
    from shared_utils import checkpoint
    from shared_utils.logging import progress

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = TemporalAttention()
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    loader = ColourDataModule(None, frames, side, samples_per_epoch=steps, seed=seed).train_dataloader()
    begun, losses = time.process_time(), []
    for step, batch in enumerate(progress(loader, "training", total=steps)):
        rate = min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = learning_rate * rate
        asked = 1 - batch["clip"][:, :, 3:, :1, :1]
        wrong = (model(batch["clip"][0])[None] - batch["ab"] / AB_SCALE).abs()
        loss = (wrong * asked).mean() / asked.mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 500 == 0:
            print(
                f"step {step + 1}: loss {sum(losses[-500:]) / 500:.5f}, {time.process_time() - begun:.0f} CPU s",
                flush=True,
            )
            checkpoint.save_safetensors(model.state_dict(), Path(out))
    checkpoint.save_safetensors(model.state_dict(), Path(out))
    print(f"{out}: {sum(p.numel() for p in model.parameters()):,} parameters, {time.process_time() - begun:.0f} CPU s")


if __name__ == "__main__":
    sys.exit(cli.run(train))
