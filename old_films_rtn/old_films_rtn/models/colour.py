"""The colour network: a few frames of a shot are given in colour, which reaches the others along the flow and by likeness.

The authors released only the data side of colour, so the network is ours. Colour is CIE Lab; the network sees (L - 50) / 50,
a / 110 and b / 110, answers with a and b alone, and is never asked for a frame that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from old_films_rtn.models.rtn import warp

AB_SCALE = 110.0
"""|a| and |b| of colours that a screen shows stay below about 108."""
STRIDE = 4
"""Pixels a side of what one feature of the correspondence stands for."""
MOST = 4096
"""Features of a frame: larger frames are made smaller before they are compared."""
NEAREST = 8
"""How many places of the key-frames a place gets its colour from."""
Run = Callable[..., Tensor]


def visible(flow: Tensor, back: Tensor) -> Tensor:
    """(n, 1, h, w) from 0 to 1: how well ``flow`` (n, 2, h, w) is confirmed by the flow back; low where the neighbour does
    not show what is here. A soft form of equation 5 of Ruder, Dosovitskiy and Brox (2016)."""
    returned = warp(back, flow, "border")
    allowed = 0.02 * (flow.square() + returned.square()).sum(1, keepdim=True) + 2
    return torch.exp(-(flow + returned).square().sum(1, keepdim=True) / allowed)


def carry(
    carried: Tensor | None,
    x_previous: Tensor | None,
    x: Tensor,
    flow: Tensor | None,
    seen: Tensor | float = 1.0,
    *,
    fade: float = 0.95,
    tolerance: float = 0.15,
) -> Tensor:
    """What reaches a frame from its neighbour in a direction, or is given in it.

    Args:
        carried: (n, 5, h, w) of the neighbour: a, b, the lightness that the key-frame has where they come from, confidence,
            and how far the flow was confirmed on the way.
        x_previous, x: (n, 4, h, w), the neighbour and the frame, as ``ColourNetwork`` takes them.
        flow: (n, 2, h, w) where each pixel of the frame is in the neighbour. Beyond the frame the border's colour is taken,
            with hardly any confidence.
        seen: (n, 1, h, w) whether it is seen there, 0 to 1 (``visible``).
        fade: confidence that is left after a step.
        tolerance: difference of lightness (of 2) from frame to frame at which a third of the confidence is left.

    Returns:
        (n, 5, h, w), as ``carried``.
    """
    known = x[:, 3:]
    given = torch.cat((x[:, 1:3], x[:, :1]), dim=1)
    if carried is None or x_previous is None or flow is None:
        return torch.cat((given * known, known, known), dim=1)
    warped = warp(torch.cat((carried, x_previous[:, :1]), dim=1), flow, "border")
    inside = warp(torch.ones_like(known), flow).clamp_min(1e-3)
    confidence = fade * inside * warped[:, 3:4] * torch.exp(-(warped[:, 5:] - x[:, :1]).abs() / tolerance)
    sure = torch.maximum(known, torch.cat((confidence, seen * inside * warped[:, 4:5]), dim=1))
    return torch.cat((torch.lerp(warped[:, :3], given, known), sure), dim=1)


def arrived(backward: Tensor, forward: Tensor) -> Tensor:
    """(n, 2, h, w): the mean of the colours of both directions, (n, 5, h, w) as ``carry`` gives them, by confidence."""
    weights = backward[:, 3:4], forward[:, 3:4]
    total = (weights[0] + weights[1]).clamp_min(1e-20)  # far from its key-frame colour is unsure, but not grey
    return (backward[:, :2] * weights[0] + forward[:, :2] * weights[1]) / total


Seen = tuple[Tensor, Tensor]
"""Forward and backward, (n, t - 1, 1, h, w): whether what the flow points to is what is here."""


def seen_along(forward_flow: Tensor, backward_flow: Tensor) -> Seen:
    """``visible`` of the flows of clips (n, t - 1, 2, h, w)."""
    flat = forward_flow.flatten(0, 1), backward_flow.flatten(0, 1)
    forward, backward = visible(*flat), visible(*flat[::-1])
    return forward.unflatten(0, forward_flow.shape[:2]), backward.unflatten(0, forward_flow.shape[:2])


def carried_clip(
    clip: Tensor, forward_flow: Tensor, backward_flow: Tensor, seen: Seen | None = None
) -> tuple[Tensor, Tensor]:
    """``carry`` over a clip (n, t, 4, h, w) with its flows (see ``RTN``), from behind and from ahead: (n, t, 5, h, w) each.

    seen: as the flows confirm each other where not given.
    """
    t, (ahead, behind) = clip.shape[1], seen or seen_along(forward_flow, backward_flow)

    def states(order: range, flows: Tensor, seen: Tensor) -> Tensor:
        kept: dict[int, Tensor] = {}
        for i in order:
            if not kept:
                kept[i] = carry(None, None, clip[:, i], None)
                continue
            near = i - order.step
            pair = min(i, near)
            kept[i] = carry(kept[near], clip[:, near], clip[:, i], flows[:, pair], seen[:, pair])
        return torch.stack([kept[i] for i in range(t)], dim=1)

    return states(range(t - 1, -1, -1), backward_flow, behind), states(range(t), forward_flow, ahead)


class Key(NamedTuple):
    """What is compared of a key-frame: features (d, k) of length 1, places (2, k) as shares of the frame's diagonal, and
    values (3, k): a, b and lightness."""

    features: Tensor
    places: Tensor
    values: Tensor


class Correspondence(nn.Module):
    """Non-local colour: every place of a frame asks all places of all key-frames how alike they are, on features of the
    lightness, and takes the colour of the most alike, near ones preferred."""

    def __init__(self, features: int = 32) -> None:
        super().__init__()

        def layers(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
            padding = 1 if stride == 2 else dilation
            conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation)
            return [conv, nn.LeakyReLU(0.1)]

        self.encoder = nn.Sequential(
            *(*layers(2, 16, 3), *layers(16, 32, 4, stride=2), *layers(32, 32, 3), *layers(32, 48, 4, stride=2)),
            *(*layers(48, 48, 3), *layers(48, 48, 3, dilation=2), nn.Conv2d(48, features, 1)),
        )
        self.sharpness = nn.Parameter(torch.tensor(2.5))
        self.nearness = nn.Parameter(torch.tensor(1.0))

    def working(self, x: Tensor) -> Tensor:
        """Maps (n, c, h, w), made smaller to at most ``MOST`` features, both sides multiples of ``STRIDE``."""
        height, width = x.shape[-2:]
        factor = min(1.0, STRIDE * (MOST / (height * width)) ** 0.5)
        sides = [max(STRIDE, int(side * factor) // STRIDE * STRIDE) for side in (height, width)]
        return x if [height, width] == sides else F.interpolate(x, sides, mode="area")

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Features (n, d, k) of frames' lightness (n, 1, h, w) at their working size, their places (2, k), and the grid."""
        mean = F.avg_pool2d(F.pad(x, (7, 7, 7, 7), mode="replicate"), 15, 1)
        square = F.avg_pool2d(F.pad(x.square(), (7, 7, 7, 7), mode="replicate"), 15, 1)
        local = (x - mean) / ((square - mean.square()).clamp_min(0).sqrt() + 0.05)
        features = F.normalize(self.encoder(torch.cat((x, local), dim=1)), dim=1)
        height, width = features.shape[-2:]
        y, x_ = torch.meshgrid(
            torch.arange(height, device=x.device), torch.arange(width, device=x.device), indexing="ij"
        )
        places = torch.stack((x_, y)).flatten(1) / float(height**2 + width**2) ** 0.5
        return features.flatten(2), places, (height, width)

    def key(self, x: Tensor) -> Key:
        """What is compared of a key-frame (1, 4, h, w)."""
        small = self.working(x[:, :3])
        features, places, _ = self.encoded(small[:, :1])
        return Key(features[0], places, F.avg_pool2d(small, STRIDE)[0, [1, 2, 0]].flatten(1))

    def forward(self, lightness: Tensor, keys: Sequence[Key]) -> Tensor:
        """(n, 4, h, w): a, b, lightness of what frames (n, 1, h, w) are most like in the key-frames, and how alike they are
        (a cosine); zeros where there is no key-frame."""
        if not keys:
            return lightness.new_zeros(len(lightness), 4, *lightness.shape[-2:])
        small = self.working(lightness)
        features, places, grid = self.encoded(small)
        logits, values, cosines = [], [], []
        for key in keys:
            cosine = features.transpose(1, 2) @ key.features
            far = (places[:, :, None] - key.places[:, None]).square().sum(0)
            logit = self.sharpness.exp() * cosine - F.softplus(self.nearness) * 4 * far
            best, index = logit.topk(min(NEAREST + 1, logit.shape[-1]), dim=-1)
            logits.append(best)
            values.append(key.values[:, index])
            cosines.append(cosine.gather(-1, index))
        logit, value, cosine = torch.cat(logits, -1), torch.cat(values, -1), torch.cat(cosines, -1)
        best, index = logit.topk(min(NEAREST + 1, logit.shape[-1]), dim=-1)
        # Less what the first that is left out would get: so nothing jumps where two places change their order.
        share = (best - best[..., :1]).exp()
        share = F.normalize(share - share[..., -1:] + 1e-6, p=1, dim=-1)
        colour = (value.gather(-1, index.expand(3, -1, -1, -1)) * share).sum(-1).transpose(0, 1)
        alike = (cosine.gather(-1, index) * share).sum(-1)[:, None]
        found = torch.cat((colour, alike), dim=1).unflatten(-1, grid)
        return _spread(found, F.avg_pool2d(small, STRIDE), lightness)


def _spread(coarse: Tensor, coarse_lightness: Tensor, lightness: Tensor) -> Tensor:
    """Maps (n, c, h', w') to the size of the lightness (n, 1, h, w): each pixel from the 3x3 places around it, near ones and
    those of its own lightness first (joint bilateral upsampling, Kopf et al., 2007)."""
    height, width = coarse.shape[-2:]
    size = lightness.shape[-2:]
    y, x = (
        ((torch.arange(large, device=coarse.device) + 0.5) * small / large - 0.5)
        for large, small in zip(size, (height, width), strict=True)
    )
    total = weights = None
    maps = torch.cat((coarse, coarse_lightness), dim=1)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows, columns = y.round() + down, x.round() + right
            taken = maps[..., rows.long().clamp(0, height - 1)[:, None], columns.long().clamp(0, width - 1)]
            near = (y - rows).square()[:, None] + (x - columns).square()
            weight = torch.exp(-near - ((taken[:, -1:] - lightness) / 0.1).square()) + 1e-6 * torch.exp(-near)
            share = taken[:, :-1] * weight
            total, weights = (share, weight) if total is None or weights is None else (total + share, weights + weight)
    assert total is not None and weights is not None
    return total / weights


WIDTHS = (24, 32, 48, 64)
SEEN = 15


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.1))


class Fusion(nn.Module):
    """A small U-Net that says, pixel by pixel, how much of each of three colours to take, and corrects what comes out.

    An answer depends on ``REACH`` pixels around it; h and w are multiples of 8.
    """

    REACH = 64

    def __init__(self) -> None:
        super().__init__()
        down = [nn.Sequential(_block(SEEN, WIDTHS[0]), _block(WIDTHS[0], WIDTHS[0]))]
        down += [nn.Sequential(_block(above, width, 2), _block(width, width)) for above, width in pairwise(WIDTHS)]
        self.down = nn.ModuleList(down)
        self.across = nn.ModuleList(nn.Conv2d(below, width, 1) for width, below in pairwise(WIDTHS))
        self.up = nn.ModuleList(_block(width, width) for width in WIDTHS[:-1])
        self.out = nn.Conv2d(WIDTHS[0], 5, 3, padding=1)
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, found: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """a and b (n, 2, h, w) of lightness (n, 1, h, w), the colours that were found (n, 4, h, w), and carried (n, 5, h, w)."""
        # Confidence falls with every frame of a shot of any length; beside what is found, it is the larger one that counts, and
        # its fourth root: as if it fell a quarter as fast.
        most = torch.maximum(backward[:, 3:4], forward[:, 3:4]).clamp_min(1e-6)
        backward, forward = (
            torch.cat((each[:, :3], each[:, 3:4] * most**-0.75, each[:, 4:]), dim=1) for each in (backward, forward)
        )
        sources = backward, forward, found
        seen = [x, *(torch.cat((each[:, :2], each[:, 2:3] - x, each[:, 3:]), dim=1) for each in sources)]
        levels = [self.down[0](torch.cat(seen, dim=1))]
        for layer in self.down[1:]:
            levels.append(layer(levels[-1]))
        below = levels.pop()
        for level in reversed(range(len(levels))):
            below = F.interpolate(self.across[level](below), scale_factor=2, mode="bilinear", align_corners=False)
            below = self.up[level](levels[level] + below)
        out = self.out(below)
        # Before training: what was carried, by confidence, and what is alike where nothing was.
        first = torch.cat((backward[:, 3:4], forward[:, 3:4], torch.full_like(x, 0.01)), dim=1).clamp_min(1e-6).log()
        shares = (out[:, :3] + first).softmax(dim=1)
        taken = sum(share * each[:, :2] for share, each in zip(shares.split(1, dim=1), sources, strict=True))
        return taken + out[:, 3:]


class ColourNetwork(nn.Module):
    """Colour of a clip (n, t, 4, h, w), some of whose frames are given: (L - 50) / 50, a / 110, b / 110, known (1 where the
    colour is given).

    Three colours reach a pixel: those that are carried along the flow from the key-frames behind and ahead, with
    confidences that fall with every step, with every difference and where the flow is not confirmed by the flow back; and
    that of the places in all key-frames which are most like its own. A U-Net weighs and corrects them; the surer the way
    along the flow is, the more of what it carries is left as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.correspondence, self.fusion = Correspondence(), Fusion()

    def decode(
        self,
        x: Tensor,
        found: Tensor,
        backward: Tensor,
        forward: Tensor,
        run: Run = lambda module, *inputs: module(*inputs),
    ) -> Tensor:
        """a and b (n, 2, h, w), divided by ``AB_SCALE``, of frames (n, 4, h, w); exactly those of x where they are known.

        run: calls a local module on maps; a way to run it in tiles.
        """
        weighed = run(self.fusion, x[:, :1], found, backward, forward).float()
        # Where the way along the flow is sure and confirmed, what it carries stays as it is.
        confidence, seen = torch.maximum(backward[:, 3:], forward[:, 3:]).split(1, dim=1)
        answer = torch.lerp(weighed, arrived(backward, forward), confidence**0.25 * seen)
        return torch.where(x[:, 3:] > 0, x[:, 1:3], answer)

    def forward(self, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """a and b of a clip with its flows (see ``RTN``), what was only carried, and what was found: (n, t, 2, h, w) each.

        A frame is given as a whole or not at all.
        """
        behind, ahead = carried_clip(clip, forward_flow, backward_flow)
        found = self.found(clip)
        frames, likeness, backward, forward = (maps.flatten(0, 1) for maps in (clip, found, behind, ahead))
        answer = self.decode(frames, likeness, backward, forward).unflatten(0, clip.shape[:2])
        return answer, arrived(backward, forward).unflatten(0, clip.shape[:2]), found[:, :, :2]

    def found(self, clip: Tensor) -> Tensor:
        """What ``Correspondence`` finds for a clip in the frames of it that are given: (n, t, 4, h, w)."""
        match, found = self.correspondence, []
        for frames in clip:
            keys = [match.key(frame[None]) for frame in frames if frame[3, 0, 0] > 0]
            found.append(match(frames[:, :1], keys))
        return torch.stack(found)


def network_input(lab: Tensor, known: Tensor) -> Tensor:
    """(..., 3, h, w) of ``to_lab`` and known (..., 1, h, w) in {0, 1} -> what ``ColourNetwork`` takes; unknown a and b are 0."""
    return torch.cat((lab[..., :1, :, :] / 50, known * lab[..., 1:, :, :] / AB_SCALE, known), dim=-3)
