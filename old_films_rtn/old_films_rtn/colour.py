"""Key-frame colour: a few frames of a shot are given in colour, and the colour is carried along the flow to the others.

Only the data side of this was ever released. Colour is CIE Lab; the network sees (L - 50) / 50, a / 110 and b / 110, answers with
a and b alone, and is never asked for a frame that was given.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from skimage import color
from torch import Tensor, nn

from old_films_rtn.flow import DIS
from old_films_rtn.models.rtn import Direction, GuidedAggregation, warp
from old_films_rtn.models.swin import RestorationTransformer
from old_films_rtn.video.io import Frame, FrameFolder, read_image
from shared_utils import UserError, checkpoint

AB_SCALE = 110.0
"""|a| and |b| of colours that a screen shows stay below about 108."""
Run = Callable[..., Tensor]


# Lab, and the published inputs -------------------------------------------------------------------------------------


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """(..., h, w, 3) RGB, uint8 or float in [0, 1] -> (..., 3, h, w) float32 of L - 50, a, b."""
    lab = np.moveaxis(color.rgb2lab(rgb), -1, -3).astype(np.float32)
    lab[..., 0, :, :] -= 50
    return lab


def from_lab(lab: np.ndarray) -> np.ndarray:
    """The inverse of ``to_lab``: (..., 3, h, w) -> (..., 3, h, w) RGB in [0, 1], clipped to what a screen shows."""
    channels_last = np.moveaxis(lab, -3, -1).astype(np.float64)
    channels_last[..., 0] += 50
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of colours that no screen shows: they are clipped, as promised
        return np.moveaxis(color.lab2rgb(channels_last), -1, -3).astype(np.float32)


def grey(rgb: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 -> (h, w) uint8, Pillow's ``L``."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).convert("L"))


def published_rgb_input(clip_bgr: np.ndarray, keyframe: int) -> np.ndarray:
    """The first released variant of training inputs: all frames grey but one.

    clip_bgr: (t, h, w, 3) uint8, B, G, R. Returns the same shape and order, float32 in [0, 1].
    """
    inputs = clip_bgr.astype(np.float32) / 255
    for index in range(len(inputs)):
        if index != keyframe:
            inputs[index] = grey(clip_bgr[index][..., ::-1]).astype(np.float32)[..., None] / 255
    return inputs


def keep_colour(lab: np.ndarray, frames: Collection[int]) -> np.ndarray:
    """The Lab variants: a and b are zero but in ``frames`` (negative indices count from the end); a copy.

    lab: (t, 3, h, w). Variant 2 keeps one key-frame, variant 3 a key-frame and the last frame, variant 4 the last one.
    """
    kept = {index % len(lab) for index in frames}
    inputs = lab.copy()
    for index in range(len(lab)):
        if index not in kept:
            inputs[index, 1:] = 0
    return inputs


# The network -------------------------------------------------------------------------------------------------------


class ColourRTN(nn.Module):
    """Carries the colour of key-frames along the flow, in both directions, and corrects what arrives.

    Frames are (n, 4, h, w): (L - 50) / 50, a / 110, b / 110 and known (1 where the colour is given). In each direction a
    frame without colour takes that of its neighbour, warped, with a confidence that falls with every step and wherever the
    two frames differ. The parts of ``RTN``, aggregation and transformer, see lightness, carried colour and confidence; a
    decoder corrects the mean of both directions. Before training the correction is zero: the answer is the carried colour.

    fade: confidence that is left after a step. tolerance: difference of lightness (of 2) at which a third is left.
    The other options are those of ``RTN``.
    """

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
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)

    def carry(self, carried: Tensor | None, x_previous: Tensor | None, x: Tensor, flow: Tensor | None) -> Tensor:
        """(n, 3, h, w): a, b and confidence that reach a frame, or are given in it."""
        known = x[:, 3:]
        if carried is None:
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
        aggregation = self.get_submodule(f"{direction}_aggregation")
        if state is None:
            fused = aggregation.embedding(seen)
        else:
            warped = warp(torch.cat((state[:, :-3], x_previous[:, :1]), dim=1), flow)
            fused, _ = aggregation(warped[:, :-1], seen, (warped[:, -1:] - x[:, :1]).abs())
        return torch.cat((run(self.get_submodule(f"{direction}_transformer"), fused).float(), carried), dim=1)

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


def lightness(grey: np.ndarray) -> np.ndarray:
    """L - 50 of grey values in [0, 1] (sRGB), float32."""
    steps = np.linspace(0, 1, 4096)
    table = color.rgb2lab(np.repeat(steps[None, :, None], 3, axis=2))[0, :, 0] - 50
    return np.interp(grey, steps, table).astype(np.float32)


# Weights -----------------------------------------------------------------------------------------------------------


def load_colour(path: str | Path) -> ColourRTN:
    """A ``ColourRTN`` of a checkpoint of train_colour.py or of its ``.safetensors``; the shapes tell its options.

    Raises UserError for anything else.
    """
    content = checkpoint.load_tensors(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    state = {name.removeprefix("model."): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    transformer = "forward_transformer."
    try:
        channels = state["correction.0.weight"].shape[0]
        width = state[transformer + "conv_second.weight"].shape[0]
        heads = state[transformer + "groups.0.blocks.0.attn.relative_position_bias_table"].shape[1]
    except KeyError:
        raise UserError(f"{path} is no colour network: give a checkpoint of train_colour.py") from None
    blocks = {
        found.groups() for name in state if (found := re.match(rf"{transformer}groups\.(\d+)\.blocks\.(\d+)\.", name))
    }
    groups = sorted({int(group) for group, _ in blocks})
    model = ColourRTN(channels, width, [sum(int(group) == number for group, _ in blocks) for number in groups], heads)
    checkpoint.import_state_dict(model, state, source=str(path))
    return model.eval()


def _equalised(image: Tensor) -> Tensor:
    """Mean 0 and the same contrast: another scan has another exposure."""
    return ((image - image.mean()) / image.std().clamp_min(1e-3) / 2.5).clamp(-1, 1)


# Key-frames --------------------------------------------------------------------------------------------------------


class Keys:
    """The key-frames of a folder: the first number in a file's name is the frame's, counted from ``first_frame``.

    align: move the colours along the flow from the film's frame to the key-frame, for key-frames from another scan.
    Raises UserError where there are none, or one has no number, or two have the same.
    """

    def __init__(self, folder: str | Path, first_frame: int = 0, align: bool = False) -> None:
        self.files: dict[int, Path] = {}
        for file in FrameFolder(folder).files:
            found = re.search(r"\d+", file.stem)
            if found is None:
                raise UserError(f"{file} has no frame number in its name: name it 000874.png for frame 874")
            index = int(found[0]) - first_frame
            if index in self.files:
                raise UserError(f"{file} and {self.files[index]} are key-frames of the same frame {found[0]}")
            self.files[index] = file
        self.first_frame, self.align = first_frame, align

    def check(self, length: int) -> None:
        """Raise UserError for a key-frame outside a film of ``length`` frames."""
        for index, file in self.files.items():
            if not 0 <= index < length:
                last = self.first_frame + length - 1
                raise UserError(
                    f"{file} is frame {index + self.first_frame}, the film has {self.first_frame} to {last}: rename it, or "
                    "say with --first-frame which number the film's first frame has"
                )

    def ab(self, index: int, size: tuple[int, int], lightness: np.ndarray | None = None) -> np.ndarray | None:
        """(2, h, w) a and b of a frame, scaled to the film's size; None where no key-frame is given.

        lightness: (h, w) L - 50 of the film's frame, to align with.

        Raises UserError for another shape of picture, or a key-frame without any colour.
        """
        file = self.files.get(index)
        if file is None:
            return None
        rgb = Frame(index, read_image(file), index).rgb()
        height, width = size
        if abs(rgb.shape[1] / rgb.shape[0] - width / height) > 0.02 * width / height:
            raise UserError(f"{file} is {rgb.shape[1]}x{rgb.shape[0]}, the film {width}x{height}: give the same shape")
        if rgb.shape[:2] != size:
            shrinks = rgb.shape[0] > height
            rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        key, ab = np.split(to_lab(rgb), [1])
        if self.align and lightness is not None:
            film, key = (torch.from_numpy(image.reshape(1, 1, *size) / 50) for image in (lightness, key))
            source = DIS()
            flow = source.flow(source.features(_equalised(film)), source.features(_equalised(key)))
            ab = warp(torch.from_numpy(ab)[None], flow, "border")[0].numpy()
        if np.abs(ab).max() < 1:
            raise UserError(f"{file} has no colour in it: a key-frame is the frame in colour")
        return ab
