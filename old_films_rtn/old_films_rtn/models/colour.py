"""The colour network: a few frames of a shot are given in colour, which is carried along the flow to the others.

The authors released only the data side of colour, so the network is ours. Colour is CIE Lab; the network sees (L - 50) / 50,
a / 110 and b / 110, answers with a and b alone, and is never asked for a frame that was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from old_films_rtn.models.rtn import Direction, GuidedAggregation, warp
from old_films_rtn.models.swin import RestorationTransformer

AB_SCALE = 110.0
"""|a| and |b| of colours that a screen shows stay below about 108."""
Run = Callable[..., Tensor]


class ColourRTN(nn.Module):
    """Carries the colour of key-frames along the flow, in both directions, and corrects what arrives.

    Frames are (n, 4, h, w): (L - 50) / 50, a / 110, b / 110 and known (1 where the colour is given). In each direction a
    frame without colour takes that of its neighbour, warped, with a confidence that falls with every step and wherever the
    two frames differ. The parts of ``RTN``, aggregation and transformer, see lightness, carried colour and confidence; a
    decoder corrects the mean of both directions. Before training the correction is zero: the answer is the carried colour.

    fade: confidence that is left after a step. tolerance: difference of lightness (of 2) at which a third is left.
    The other options are those of ``RTN``.
    """

    backward_aggregation: GuidedAggregation
    forward_aggregation: GuidedAggregation
    backward_transformer: RestorationTransformer
    forward_transformer: RestorationTransformer

    def __init__(
        self,
        channels: int = 16,
        width: int = 32,
        depths: Sequence[int] = (2,),
        num_heads: int = 2,
        fade: float = 0.95,
        tolerance: float = 0.15,
    ) -> None:
        super().__init__()
        self.options = {
            "channels": channels,
            "width": width,
            "depths": list(depths),
            "num_heads": num_heads,
            "fade": fade,
            "tolerance": tolerance,
        }
        self.fade, self.tolerance = fade, tolerance
        for direction in ("backward", "forward"):
            self.add_module(f"{direction}_aggregation", GuidedAggregation(channels, 4))
            self.add_module(f"{direction}_transformer", RestorationTransformer(channels, width, depths, num_heads))
        self.correction = nn.Sequential(
            nn.Conv2d(2 * channels + 4, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, 2, 3, padding=1),
        )
        for parameter in self.correction[-1].parameters():
            nn.init.zeros_(parameter)

    def carry(self, carried: Tensor | None, x_previous: Tensor | None, x: Tensor, flow: Tensor | None) -> Tensor:
        """(n, 3, h, w): a, b and confidence that reach a frame, or are given in it."""
        known = x[:, 3:]
        if carried is None or x_previous is None or flow is None:
            return torch.cat((x[:, 1:3] * known, known), dim=1)
        warped = warp(torch.cat((carried, x_previous[:, :1]), dim=1), flow)
        difference = (warped[:, 3:] - x[:, :1]).abs()
        confidence = self.fade * warped[:, 2:3] * torch.exp(-difference / self.tolerance)
        return torch.cat((torch.lerp(warped[:, :2], x[:, 1:3], known), torch.maximum(known, confidence)), dim=1)

    def step(
        self,
        direction: Direction,
        state: Tensor | None,
        x_previous: Tensor | None,
        x: Tensor,
        flow: Tensor | None,
        run: Run = lambda module, *inputs: module(*inputs),
    ) -> Tensor:
        """The state (n, channels + 3, h, w) of a frame: its hidden state and the colour that is carried to it.

        run: calls a local module on maps; a way to run it in tiles.
        """
        carried = self.carry(None if state is None else state[:, -3:], x_previous, x, flow)
        seen = torch.cat((x[:, :1], carried), dim=1)
        backward = direction == "backward"
        aggregation = self.backward_aggregation if backward else self.forward_aggregation
        transformer = self.backward_transformer if backward else self.forward_transformer
        if state is None or x_previous is None or flow is None:
            fused = aggregation.embedding(seen)
        else:
            warped = warp(torch.cat((state[:, :-3], x_previous[:, :1]), dim=1), flow)
            fused, _ = aggregation(warped[:, :-1], seen, (warped[:, -1:] - x[:, :1]).abs())
        return torch.cat((run(transformer, fused).float(), carried), dim=1)

    def arrived(self, backward: Tensor, forward: Tensor) -> Tensor:
        """(n, 3, h, w): the mean of the colours of both directions, weighted by confidence, and the larger confidence."""
        behind, ahead = backward[:, -3:], forward[:, -3:]
        weights = behind[:, 2:], ahead[:, 2:]
        total = (weights[0] + weights[1]).clamp_min(1e-20)  # far from its key-frame colour is unsure, but not grey
        colour = (behind[:, :2] * weights[0] + ahead[:, :2] * weights[1]) / total
        return torch.cat((colour, torch.maximum(*weights)), dim=1)

    def decode(
        self, x: Tensor, backward: Tensor, forward: Tensor, run: Run = lambda module, *inputs: module(*inputs)
    ) -> Tensor:
        """a and b (n, 2, h, w), divided by ``AB_SCALE``; exactly those of x where they are known."""
        arrived = self.arrived(backward, forward)
        seen = torch.cat((backward[:, :-3], forward[:, :-3], x[:, :1], arrived), dim=1)
        answer = arrived[:, :2] + run(self.correction, seen).float()
        return torch.where(x[:, 3:] > 0, x[:, 1:3], answer)

    def forward(self, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> tuple[Tensor, Tensor]:
        """a and b of a clip (n, t, 4, h, w) with its flows (see ``RTN``), and what was only carried: (n, t, 2, h, w)."""
        t = clip.shape[1]
        behind: list[Tensor] = [clip] * t
        state = None
        for i in reversed(range(t)):
            neighbour, flow = (None, None) if state is None else (clip[:, i + 1], backward_flow[:, i])
            state = behind[i] = self.step("backward", state, neighbour, clip[:, i], flow)
        state, answers, carried = None, [], []
        for i in range(t):
            neighbour, flow = (None, None) if state is None else (clip[:, i - 1], forward_flow[:, i - 1])
            state = self.step("forward", state, neighbour, clip[:, i], flow)
            answers.append(self.decode(clip[:, i], behind[i], state))
            carried.append(self.arrived(behind[i], state)[:, :2])
        return torch.stack(answers, dim=1), torch.stack(carried, dim=1)


def network_input(lab: Tensor, known: Tensor) -> Tensor:
    """(..., 3, h, w) of ``to_lab`` and known (..., 1, h, w) in {0, 1} -> what ``ColourRTN`` takes; unknown a and b are 0."""
    return torch.cat((lab[..., :1, :, :] / 50, known * lab[..., 1:, :, :] / AB_SCALE, known), dim=-3)
