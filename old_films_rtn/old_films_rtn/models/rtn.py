"""The recurrent transformer network: guided aggregation along the flow, restoration, two directions, one decoder.

After "Bringing Old Films Back to Life" (CVPR 2022), section 3. Frames lie in [-1, 1], grey repeated over 3 channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from old_films_rtn.models.detector import DefectDetector
from old_films_rtn.models.swin import RestorationTransformer
from shared_utils import UserError

Direction = Literal["backward", "forward"]


def warp(image: Tensor, flow: Tensor, padding: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Sample ``image`` (n, c, h, w) bilinearly at every pixel's place plus ``flow`` (n, 2, h, w; x, y; pixels).

    Outside the frame lies 0, or the border's value. Places are computed in float32 whatever the image's precision: in
    half precision a pixel beyond column 1024 could not move by less than one.
    """
    height, width = image.shape[-2:]
    flow = flow.float()
    x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[:, 1]
    grid = torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), dim=-1)
    with torch.autocast(image.device.type, enabled=False):
        warped = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode=padding, align_corners=True)
    return warped.to(image.dtype)


class GuidedAggregation(nn.Module):
    """A = m s + (1 - m) e: how much of the warped hidden state s replaces the frame's own embedding e.

    m near 1 means that the neighbour is trusted and the frame is not: it is the defect map that nobody supervises.
    follow_residual: start with m rising with the residual, and with the frame in the first channels of e. Where e and s
    are free, nothing in the equations says which of them the gate should prefer at a defect.
    """

    def __init__(
        self, channels: int = 16, frame_channels: int = 3, gate_channels: int = 8, follow_residual: bool = False
    ) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(frame_channels, channels, 3, padding=1)
        self.gate_hidden = nn.Conv2d(2 * channels + 1, gate_channels, 3, padding=1)
        self.gate = nn.Conv2d(gate_channels, 1, 3, padding=1)
        for layer in (self.embedding, self.gate_hidden, self.gate):
            nn.init.kaiming_normal_(layer.weight)
        if follow_residual:
            with torch.no_grad():
                # One hidden channel passes the residual on, and the gate opens at a difference of an eighth of the
                # range; everything else is still free to learn.
                self.gate_hidden.weight[0] = 0
                self.gate_hidden.weight[0, -1, 1, 1] = 1
                self.gate_hidden.get_parameter("bias")[0] = 0
                self.gate.weight.mul_(0.1)
                self.gate.weight[0, 0] = 0
                self.gate.weight[0, 0, 1, 1] = 12
                self.gate.get_parameter("bias").fill_(-3)
                # The first channels of the embedding are the frame itself.
                self.embedding.weight[:frame_channels] = 0
                self.embedding.get_parameter("bias")[:frame_channels] = 0
                for channel in range(frame_channels):
                    self.embedding.weight[channel, channel, 1, 1] = 1

    def mask(self, state: Tensor, embedding: Tensor, residual: Tensor) -> Tensor:
        """m (n, 1, h, w) of the warped state, the embedding (n, channels, h, w) and the residual (n, 1, h, w)."""
        features = torch.cat((state, embedding, residual), dim=1)
        return torch.sigmoid(self.gate(F.leaky_relu(self.gate_hidden(features), 0.2)))

    def forward(self, state: Tensor, frame: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """(fused (n, channels, h, w), m (n, 1, h, w))."""
        embedding = self.embedding(frame)
        mask = self.mask(state, embedding, residual)
        return mask * state + (1 - mask) * embedding, mask


class RTN(nn.Module):
    """The generator without its flow network: it takes the flow.

    channels: of the hidden states. width, depths, num_heads: of the transformers (see ``RestorationTransformer``).
    tanh_residual: True: y = tanh(residual + x), as published: a zero residual compresses the contrast (1.0 becomes
    0.76), which the network has to learn to undo. False, for training of one's own: y = median(b, x, f) + residual, where the
    first channels of both states carry the frame. It starts as a classical recursive median along the flow: the
    embedding passes the frame on, the gates follow the residual, a transformer adds nothing to its input, and the decoder
    nothing to the median. State and embedding are so tied to one meaning, and m near 1 at a defect is right by
    construction: it is what puts the neighbour into the output. The decoder sees x beside both states; beyond the frame
    the border is read, and not the published zeros, which darken moving borders. The head of a direction has seen nothing
    but its frame, so the other direction's state stands in for it; the states' last channel is kept for saying so.
    frame_channels: of the frames. The residual of the gate is taken on the first of them.
    detector: with a ``DefectDetector`` beside the network, which sees clips before it does (``detection``); nothing here
    calls it.

    ``checkpointing`` (attribute): recompute the transformers in the backward pass, so that training memory grows by
    one hidden state a frame, and not by all their activations.
    """

    backward_aggregation: GuidedAggregation
    forward_aggregation: GuidedAggregation
    backward_transformer: RestorationTransformer
    forward_transformer: RestorationTransformer

    def __init__(
        self,
        channels: int = 16,
        width: int = 64,
        depths: Sequence[int] = (2, 2, 2),
        num_heads: int = 4,
        tanh_residual: bool = True,
        frame_channels: int = 3,
        detector: bool = False,
    ) -> None:
        super().__init__()
        self.options = {
            "channels": channels,
            "width": width,
            "depths": list(depths),
            "num_heads": num_heads,
            "tanh_residual": tanh_residual,
            "frame_channels": frame_channels,
            "detector": detector,
        }
        self.channels, self.tanh_residual, self.checkpointing = channels, tanh_residual, False
        for direction in ("backward", "forward"):
            gate = GuidedAggregation(channels, frame_channels, follow_residual=not tanh_residual)
            self.add_module(f"{direction}_aggregation", gate)
            self.add_module(
                f"{direction}_transformer",
                RestorationTransformer(channels, width, depths, num_heads, residual=not tanh_residual),
            )
        seen = 2 * channels + (0 if tanh_residual else frame_channels)
        self.fusion = nn.Conv2d(seen, channels, 3, padding=1)
        self.refine = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.output = nn.Conv2d(channels, frame_channels, 3, padding=1)
        if not tanh_residual:
            for parameter in self.output.parameters():
                nn.init.zeros_(parameter)
        self.detector = DefectDetector() if detector else None

    def aggregation(self, direction: Direction) -> GuidedAggregation:
        """The gates of a direction."""
        return self.backward_aggregation if direction == "backward" else self.forward_aggregation

    def transformer(self, direction: Direction) -> RestorationTransformer:
        """R of a direction."""
        return self.backward_transformer if direction == "backward" else self.forward_transformer

    @property
    def multiple(self) -> int:
        """Height and width have to be multiples of this."""
        return self.forward_transformer.multiple

    def embed(self, x: Tensor, direction: Direction) -> Tensor:
        """e (n, channels, h, w) of a frame (n, 3, h, w): what a direction starts from."""
        embedding = self.aggregation(direction).embedding(x)
        if self.tanh_residual:
            return embedding
        return torch.cat((embedding[:, :-1], torch.ones_like(embedding[:, -1:])), dim=1)

    def first(self, direction: Direction, x: Tensor) -> tuple[Tensor, Tensor]:
        """(e, m) of a direction's first frame; m is made from a state of zeros and is not used."""
        embedding = self.embed(x, direction)
        zeros = torch.zeros_like(embedding)
        return embedding, self.aggregation(direction).mask(zeros, embedding, zeros[:, :1])

    def aggregate(
        self, direction: Direction, hidden_previous: Tensor, x_previous: Tensor, x: Tensor, flow: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(fused (n, channels, h, w), m (n, 1, h, w)) of a frame and its neighbour in the direction.

        hidden_previous, x_previous: the neighbour's hidden state and frame. flow (n, 2, h, w): where each pixel of the
        frame is in the neighbour.
        """
        padding = "zeros" if self.tanh_residual else "border"
        warped = warp(torch.cat((hidden_previous, x_previous[:, :1]), dim=1), flow, padding)
        residual = (warped[:, -1:] - x[:, :1]).abs()
        fused, mask = self.aggregation(direction)(warped[:, :-1], x, residual)
        if not self.tanh_residual:
            fused = torch.cat((fused[:, :-1], torch.zeros_like(fused[:, -1:])), dim=1)
        return fused, mask

    def restore(self, direction: Direction, fused: Tensor) -> Tensor:
        """h (n, channels, h, w) = R(fused)."""
        transformer = self.transformer(direction)
        if self.checkpointing and torch.is_grad_enabled():
            hidden = checkpoint(transformer, fused, use_reentrant=False)
        else:
            hidden = transformer(fused)
        return hidden if self.tanh_residual else torch.cat((hidden[:, :-1], fused[:, -1:]), dim=1)

    def decode(self, x: Tensor, backward: Tensor, forward: Tensor) -> Tensor:
        """The restored frame (n, 3, h, w) of a frame and its two hidden states."""
        if self.tanh_residual:
            return torch.tanh(x + self._residual(backward, forward))
        apart = forward - backward
        backward, forward = backward + backward[:, -1:] * apart, forward - forward[:, -1:] * apart
        before, after = forward[:, : x.shape[1]], backward[:, : x.shape[1]]
        median = torch.maximum(torch.minimum(before, after), torch.minimum(torch.maximum(before, after), x))
        return median + self._residual(backward, forward, x)

    def _residual(self, *seen: Tensor) -> Tensor:
        features = F.leaky_relu(self.fusion(torch.cat(seen, dim=1)), 0.1)
        for layer in self.refine:
            features = F.leaky_relu(layer(features), 0.1)
        return self.output(features)

    def forward(self, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Restore a clip.

        clip: (n, t, 3, h, w) in [-1, 1], h and w multiples of ``multiple``. forward_flow (n, t - 1, 2, h, w): where each
        pixel of frame i + 1 is in frame i; backward_flow: where each pixel of frame i is in frame i + 1.
        Returns the restored clip and the masks (n, t, 1, h, w) of the forward and of the backward direction.
        Raises UserError for a size that the windows do not divide.
        """
        n, t, _, height, width = clip.shape
        if height % self.multiple or width % self.multiple:
            raise UserError(f"frames of {width}x{height}: pad them to multiples of {self.multiple}")
        hidden, masks = {}, {}
        passes: tuple[tuple[Direction, range, Callable[[int], Tensor]], ...] = (
            ("backward", range(t - 1, -1, -1), lambda i: backward_flow[:, i]),
            ("forward", range(t), lambda i: forward_flow[:, i - 1]),
        )
        for direction, order, flow in passes:
            states: list[Tensor] = [clip] * t
            seen: list[Tensor] = [clip] * t
            previous = None
            for i in order:
                if previous is None:
                    fused, seen[i] = self.first(direction, clip[:, i])
                else:
                    fused, seen[i] = self.aggregate(direction, states[previous], clip[:, previous], clip[:, i], flow(i))
                states[i] = self.restore(direction, fused)
                previous = i
            hidden[direction], masks[direction] = torch.stack(states, 1), torch.stack(seen, 1)
        restored = self.decode(clip.flatten(0, 1), hidden["backward"].flatten(0, 1), hidden["forward"].flatten(0, 1))
        return restored.unflatten(0, (n, t)), masks["forward"], masks["backward"]
