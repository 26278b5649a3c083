"""RAFT (ECCV 2020), the large model: dense flow from an all-pairs correlation and recurrent updates.

Every frame is encoded once, whatever pairs it is part of; of the recurrent unit's convolutions, what depends on the
context alone is computed once a pair; the mask of the upsampling is made after the last update only. Numbers are those of the
plain order of work, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS, RADIUS = 4, 4
SMALLEST = 128
"""Below this size a level of the correlation pyramid has a single row, where the published code divides by zero."""


class Features(NamedTuple):
    """What flow needs of n frames, at an eighth of their size."""

    matching: Tensor
    """(n, 256, h/8, w/8), by which pixels are compared."""
    context: Tensor
    """(n, 256, h/8, w/8): the first state of the recurrent unit and its constant input."""
    size: tuple[int, int]
    """Height and width of the frames, before they were padded."""

    @classmethod
    def joined(cls, several: Sequence[Features]) -> Features:
        """Those of several sets of frames of one size as one set."""
        matching, context, sizes = zip(*several, strict=True)
        return cls(torch.cat(matching), torch.cat(context), sizes[0])

    def part(self, start: int, end: int) -> Features:
        """Those of the frames start to end."""
        return Features(self.matching[start:end], self.context[start:end], self.size)


def _normalisation(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels)


class ResidualBlock(nn.Module):
    """Two convolutions with normalisation around a shortcut."""

    def __init__(self, before: int, after: int, kind: str, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1)
        self.norm1 = _normalisation(kind, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.norm2 = _normalisation(kind, after)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride=stride), _normalisation(kind, after))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Encoder(nn.Module):
    """(n, 3, h, w) in [-1, 1] -> (n, 256, h/8, w/8)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.norm1 = _normalisation(kind, 64)
        self.layer1 = nn.Sequential(ResidualBlock(64, 64, kind, 1), ResidualBlock(64, 64, kind, 1))
        self.layer2 = nn.Sequential(ResidualBlock(64, 96, kind, 2), ResidualBlock(96, 96, kind, 1))
        self.layer3 = nn.Sequential(ResidualBlock(96, 128, kind, 2), ResidualBlock(128, 128, kind, 1))
        self.conv2 = nn.Conv2d(128, 256, 1)

    def forward(self, frames: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(frames)))
        return self.conv2(self.layer3(self.layer2(self.layer1(x))))


def sample(volume: Tensor, places: Tensor) -> Tensor:
    """Bilinear values of ``volume`` (n, c, h, w) at ``places`` (n, a, b, 2; x, y; pixels), zero outside."""
    height, width = volume.shape[-2:]
    scale = torch.tensor([max(width - 1, 1), max(height - 1, 1)], device=places.device, dtype=places.dtype)
    return F.grid_sample(volume, 2 * places / scale - 1, align_corners=True)


def _offsets(device: torch.device) -> Tensor:
    """(9, 9, 2): the neighbourhood of a lookup, in the published order: the first axis moves x."""
    steps = torch.linspace(-RADIUS, RADIUS, 2 * RADIUS + 1, device=device)
    return torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)


class CorrelationVolume:
    """The correlation of all pixels with all pixels, and averages of it over 2, 4 and 8 pixels of the second frame."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        n, channels, height, width = a.shape
        volume = a.flatten(2).transpose(1, 2) @ b.flatten(2) / math.sqrt(channels)
        self.levels = [volume.view(n * height * width, 1, height, width)]
        for _ in range(LEVELS - 1):
            self.levels.append(F.avg_pool2d(self.levels[-1], 2, stride=2))

    def __call__(self, places: Tensor) -> Tensor:
        """(n, 2, h, w) pixels in the second frame -> (n, 324, h, w) correlations around them."""
        n, _, height, width = places.shape
        centres = places.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
        offsets = _offsets(places.device)
        found = [
            sample(level, centres / 2**number + offsets).view(n, height, width, -1)
            for number, level in enumerate(self.levels)
        ]
        return torch.cat(found, dim=-1).permute(0, 3, 1, 2)


class CorrelationOnDemand:
    """The same lookups without the volume, whose size is the square of the frame's: memory grows with the frame alone.

    Averaging and interpolation commute with the product, so a level is the correlation with the averaged features of
    the second frame; a neighbourhood of 9x9 places a fraction of a pixel off needs 10x10 products at whole pixels. Where flow
    is smooth, those of a block of 8x8 pixels lie in one window of the second map, and are one product of matrices; pixels of
    the other blocks are looked up one by one.
    """

    BLOCK, AT_ONCE = 8, 64
    WIDEST = 40
    """Side of the largest window that a block is looked up in."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        channels, height, width = a.shape[1:]
        down, right = -height % self.BLOCK, -width % self.BLOCK
        padded = F.pad(a / math.sqrt(channels), (0, right, 0, down)).permute(0, 2, 3, 1)
        self.down, self.right = down, right
        self.a = self._blocks(padded)
        self.levels = []
        for _ in range(LEVELS):
            # A border of zeros takes whatever lies outside the frame.
            self.levels.append(F.pad(b, (1, 1, 1, 1)).permute(0, 2, 3, 1).contiguous())
            b = F.avg_pool2d(b, 2, stride=2)

    def _blocks(self, maps: Tensor) -> Tensor:
        """(n, h, w, c) -> (n * blocks, 64, c)."""
        cut = maps.unflatten(1, (-1, self.BLOCK)).unflatten(3, (-1, self.BLOCK))
        return cut.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def __call__(self, places: Tensor) -> Tensor:
        """As ``CorrelationVolume``."""
        n, _, height, width = places.shape
        side = 2 * RADIUS + 1
        rows_of, columns_of = height + self.down, width + self.right
        padded = F.pad(places, (0, self.right, 0, self.down), mode="replicate").permute(0, 2, 3, 1)
        found = []
        for number, level in enumerate(self.levels):
            _, rows, columns, _ = level.shape
            centres = self._blocks(padded / 2**number)
            whole = centres.floor()
            fx, fy = (centres - whole).unbind(-1)
            # Clamped before the cast: a flow that has run away may not overflow the index.
            whole = whole.clamp(-2 * RADIUS - 2, max(rows, columns) + 2 * RADIUS + 2).long()
            products = self._products(level, whole).unflatten(-1, (side + 1, side + 1))
            fx, fy = fx[..., None, None], fy[..., None, None]
            rows_mixed = products[..., :-1, :] * (1 - fy) + products[..., 1:, :] * fy
            mixed = (rows_mixed[..., :-1] * (1 - fx) + rows_mixed[..., 1:] * fx).transpose(-1, -2).flatten(2)
            grid = mixed.view(n, rows_of // self.BLOCK, -1, self.BLOCK, self.BLOCK, side * side).transpose(2, 3)
            found.append(grid.reshape(n, rows_of, columns_of, -1)[:, :height, :width].permute(0, 3, 1, 2))
        return torch.cat(found, dim=1)

    def _products(self, level: Tensor, whole: Tensor) -> Tensor:
        """(blocks, 64, 100): of every pixel of a block with the 10x10 around its place; whole: (blocks, 64, 2), x and y."""
        images, rows, columns, channels = level.shape
        flat = level.view(-1, channels)
        first = torch.arange(len(whole), device=level.device) // (len(whole) // images) * (rows * columns)
        corner = whole.amin(1)
        reach = (whole.amax(1) - corner).amax(1) + 2 * RADIUS + 2
        steps = torch.arange(2 * RADIUS + 2, device=level.device)

        def index(x: Tensor, y: Tensor, start: Tensor) -> Tensor:
            # The border of zeros is row and column 0.
            return start + (y - RADIUS + 1).clamp(0, rows - 1) * columns + (x - RADIUS + 1).clamp(0, columns - 1)

        products = level.new_empty(*whole.shape[:2], len(steps) ** 2)
        near = (reach <= self.WIDEST).nonzero()[:, 0]
        if len(near):
            span = torch.arange(int(reach[near].max()), device=level.device)
            for part in near.split(self.AT_ONCE):
                x, y = corner[part, 0], corner[part, 1]
                window = index((x[:, None] + span)[:, None], (y[:, None] + span)[..., None], first[part, None, None])
                every = self.a[part] @ flat[window.flatten(1)].transpose(1, 2)
                offset = whole[part] - corner[part, None]
                own_rows = (offset[..., 1:] + steps)[..., :, None] * len(span)
                products[part] = every.gather(2, (own_rows + (offset[..., :1] + steps)[..., None, :]).flatten(2))
        for part in (reach > self.WIDEST).nonzero()[:, 0].split(4):
            x, y = whole[part, :, 0, None, None], whole[part, :, 1, None, None]
            seen = flat[index(x + steps, y + steps[:, None], first[part, None, None, None]).flatten(2)]
            products[part] = (seen @ self.a[part][..., None])[..., 0]
        return products


class MotionEncoder(nn.Module):
    """Correlations (n, 324, h, w) and flow (n, 2, h, w) -> (n, 128, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(LEVELS * (2 * RADIUS + 1) ** 2, 256, 1)
        self.convc2 = nn.Conv2d(256, 192, 3, padding=1)
        self.convf1 = nn.Conv2d(2, 128, 7, padding=3)
        self.convf2 = nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(256, 126, 3, padding=1)

    def forward(self, flow: Tensor, correlations: Tensor) -> Tensor:
        matched = F.relu(self.convc2(F.relu(self.convc1(correlations))))
        moved = F.relu(self.convf2(F.relu(self.convf1(flow))))
        return torch.cat((F.relu(self.conv(torch.cat((matched, moved), dim=1))), flow), dim=1)


class SeparableGRU(nn.Module):
    """A convolutional gated recurrent unit, once along rows and once along columns.

    Every convolution sees the state, the context and the motion, in this order; ``constant`` is the context's part of
    the sums, ``forward`` adds the rest.
    """

    def __init__(self) -> None:
        super().__init__()
        for axis, (kernel, padding) in enumerate((((1, 5), (0, 2)), ((5, 1), (2, 0))), start=1):
            for gate in "zrq":
                setattr(self, f"conv{gate}{axis}", nn.Conv2d(384, 128, kernel, padding=padding))

    def constant(self, context: Tensor) -> list[Tensor]:
        """What the context (n, 128, h, w) adds to z, r and q: (n, 384, h, w) for rows and for columns."""
        parts = []
        for axis in (1, 2):
            layers = [getattr(self, f"conv{gate}{axis}") for gate in "zrq"]
            weight = torch.cat([layer.weight[:, 128:256] for layer in layers])
            bias = torch.cat([layer.bias for layer in layers])
            parts.append(F.conv2d(context, weight, bias, padding=layers[0].padding))
        return parts

    def forward(self, state: Tensor, motion: Tensor, constant: list[Tensor]) -> Tensor:
        for axis, known in zip((1, 2), constant, strict=True):
            z_layer, r_layer, q_layer = (getattr(self, f"conv{gate}{axis}") for gate in "zrq")
            padding = z_layer.padding
            weight = torch.cat([z_layer.weight, r_layer.weight])
            weight = torch.cat((weight[:, :128], weight[:, 256:]), dim=1)
            gates = torch.sigmoid(F.conv2d(torch.cat((state, motion), dim=1), weight, padding=padding) + known[:, :256])
            z, r = gates.chunk(2, dim=1)
            weight = torch.cat((q_layer.weight[:, :128], q_layer.weight[:, 256:]), dim=1)
            q = F.conv2d(torch.cat((r * state, motion), dim=1), weight, padding=padding) + known[:, 256:]
            state = (1 - z) * state + z * torch.tanh(q)
        return state


class FlowHead(nn.Module):
    """State -> change of the flow (n, 2, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(128, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, state: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(state)))


class UpdateBlock(nn.Module):
    """One update of the state and the flow, and the weights of the convex upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MotionEncoder()
        self.gru = SeparableGRU()
        self.flow_head = FlowHead()
        self.mask = nn.Sequential(nn.Conv2d(128, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 64 * 9, 1))


def upsample(flow: Tensor, mask: Tensor) -> Tensor:
    """(n, 2, h, w) in pixels of that size -> (n, 2, 8h, 8w): convex combinations of 3x3 neighbours; mask (n, 576, h, w)."""
    n, _, height, width = flow.shape
    weights = mask.view(n, 1, 9, 8, 8, height, width).softmax(dim=2)
    neighbours = F.unfold(8 * flow, 3, padding=1).view(n, 2, 9, 1, 1, height, width)
    return (weights * neighbours).sum(dim=2).permute(0, 1, 4, 2, 5, 3).reshape(n, 2, 8 * height, 8 * width)


def volume_bytes(features: Features) -> int:
    """What the correlation volume of a pair takes, with its levels."""
    return 4 * 4 * features.matching.shape[-2:].numel() ** 2 // 3


class RAFT(nn.Module):
    """Flow between frames. Never trained here: no gradients, and batch normalisation always by its stored statistics.

    Frames of any size are padded by their border to multiples of 8 and at least 128 pixels.
    ``volume_limit`` (attribute): a pair whose correlation volume would take more bytes than this is looked up on demand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fnet = Encoder("instance")
        self.cnet = Encoder("batch")
        self.update_block = UpdateBlock()
        self.volume_limit = 1 << 30
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> RAFT:
        """Stays in evaluation mode whatever its parent does; statistics that drift would degrade the flow."""
        return super().train(False)

    @torch.no_grad()
    def features(self, frames: Tensor) -> Features:
        """frames: (n, 3, h, w) in [-1, 1]."""
        height, width = frames.shape[-2:]
        down, right = (max(SMALLEST, -(-side // 8) * 8) - side for side in (height, width))
        if down or right:
            frames = F.pad(frames, (0, right, 0, down), mode="replicate")
        with torch.autocast(frames.device.type, enabled=False):
            frames = frames.float()
            return Features(self.fnet(frames), self.cnet(frames), (height, width))

    @torch.no_grad()
    def flow(self, a: Features, b: Features, iterations: int = 24) -> Tensor:
        """(n, 2, h, w), pixels: where each pixel of the frames ``a`` is in the frames ``b``.

        So many pairs at a time as ``volume_limit`` leaves room for: convolutions of four pairs are faster than four of one.
        """
        height, width = a.size
        count = len(a.matching)
        at_once = max(1, min(count, self.volume_limit // volume_bytes(a)))
        flows = [
            upsample(*self.coarse(a.part(start, start + at_once), b.part(start, start + at_once), iterations))
            for start in range(0, count, at_once)
        ]
        return torch.cat(flows)[..., :height, :width]

    @torch.no_grad()
    def coarse(self, a: Features, b: Features, iterations: int = 24) -> tuple[Tensor, Tensor]:
        """Flow at an eighth of the size, in pixels of that size (n, 2, h/8, w/8), and the mask for ``upsample``."""
        n, _, height, width = a.matching.shape
        with torch.autocast(a.matching.device.type, enabled=False):
            Correlation = CorrelationVolume if volume_bytes(a) <= self.volume_limit else CorrelationOnDemand
            correlation = Correlation(a.matching, b.matching)
            state, context = torch.tanh(a.context[:, :128]), torch.relu(a.context[:, 128:])
            constant = self.update_block.gru.constant(context)
            start = torch.stack(
                torch.meshgrid(
                    torch.arange(width, device=state.device, dtype=state.dtype),
                    torch.arange(height, device=state.device, dtype=state.dtype),
                    indexing="xy",
                )
            ).expand(n, -1, -1, -1)
            places = start
            for _ in range(iterations):
                motion = self.update_block.encoder(places - start, correlation(places))
                state = self.update_block.gru(state, motion, constant)
                places = places + self.update_block.flow_head(state)
            return places - start, 0.25 * self.update_block.mask(state)
