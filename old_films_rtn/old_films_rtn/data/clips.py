"""Training and evaluation samples: clean clips from folders or made ones, degraded, with the truth beside them.

A sample is a dict of ``lq``, ``gt`` (t, 3, h, w) float32 in [-1, 1], ``mask`` (t, 1, h, w) in [0, 1], the share of each pixel
that a contaminant hides, ``key`` and, where they are known, ``forward_flow`` and ``backward_flow`` (t - 1, 2, h, w).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from old_films_rtn.data import degradation as film
from old_films_rtn.data.procedural import Split, make_scene
from old_films_rtn.data.textures import Layer
from old_films_rtn.video.images import image_files
from shared_utils import UserError

log = logging.getLogger(__name__)


class Textures(Protocol):
    """Where contaminants come from: ``TemplateTextures`` or ``DrawnTextures``."""

    def draw(self, rng: np.random.Generator, frames: int, height: int, width: int) -> list[list[Layer]]: ...


def find_clips(root: str | Path) -> dict[str, list[Path]]:
    """Clip name -> frames: every folder below ``root`` that holds images (REDS, DAVIS, YouTube-VOS, Vimeo-90k, one's
    own), ``root`` itself included; or the folders that a list file names, one a line, relative to the file.

    Raises UserError where there are no clips.
    """
    root = Path(root)
    if root.is_file():
        folders = [root.parent / line.strip() for line in root.read_text().splitlines() if line.strip()]
        for folder in folders:
            if not folder.is_dir():
                raise UserError(f"{folder}, named in {root}, is not a folder: a list file has one clip folder a line")
        base = root.parent
    elif root.is_dir():
        folders = [root, *sorted((path for path in root.rglob("*") if path.is_dir()), key=str)]
        base = root
    else:
        raise UserError(
            f"{root} not found: data.root takes a folder of clip folders (such as REDS/train_sharp), or a list"
        )
    clips = {
        str(folder.relative_to(base)) if folder != base else folder.name: image_files(folder) for folder in folders
    }
    clips = {name: frames for name, frames in clips.items() if frames}
    if not clips:
        raise UserError(
            f"no images in {root} or the folders below it: a clip is a folder of png, jpg, tif or bmp frames"
        )
    return clips


def read_grey(path: Path) -> np.ndarray:
    """(h, w) uint8 by Pillow's luma. Raises UserError for a file that cannot be decoded."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} cannot be read as an image: replace or remove it")
    return film.to_grey(image.astype(np.float32) / 255)


def as_clip(frames: np.ndarray) -> torch.Tensor:
    """(t, h, w) uint8 or float in 0..255 -> (t, 3, h, w) float32 in [-1, 1]."""
    clip = torch.from_numpy(np.ascontiguousarray(frames)).float() / 127.5 - 1
    return clip[:, None].expand(-1, 3, -1, -1).contiguous()


def degrade_clip(
    clean: np.ndarray,
    textures: Textures | None,
    degradation: film.Degradation,
    rng: np.random.Generator,
    flows: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """A clean clip (t, h, w) uint8 and what becomes of it: the sample's tensors, without its key.

    Raises UserError where contaminants are wanted and there are no textures.
    """
    count, height, width = clean.shape
    wear = degradation.wear
    if wear.weave:
        clean, flows = film.weave_frames(clean, flows, rng.uniform(-wear.weave, wear.weave, (count, 2)))
    target = clean.astype(np.float32)
    if degradation.sharpen_target:
        target = np.stack([255 * film.sharpen(frame / np.float32(255)) for frame in clean])
    frames = film.wear_frames(clean, wear, rng)
    hidden = np.zeros(frames.shape, np.float32)
    if degradation.defects:
        if textures is None:
            raise UserError("no contaminants: give data.textures (a folder of templates, or null for drawn ones)")
        layers = textures.draw(rng, count, height, width)
        if wear.gate_hair and rng.random() < wear.gate_hair:
            hair = gate_hair(rng, height, width)
            layers = [[*frame, Layer(hair, "multiply", 1.0)] for frame in layers]
        for number, frame in enumerate(layers):
            for layer in frame:
                frames[number] = film.blend(frames[number], *layer)
                hidden[number] = np.maximum(hidden[number], layer.weight())
    if degradation.quality and rng.random() < degradation.quality:
        order = film.ORDER
        if degradation.random_order:
            order = (*(film.ORDER[i] for i in rng.permutation(3)), "jpeg")
        qualities = film.draw_quality(rng, count)
        noises = [film.quality_noise(rng, quality, height, width) for quality in qualities]
        degraded = [film.degrade_quality(*each, order) for each in zip(frames, qualities, noises, strict=True)]
        frames = np.stack(degraded)
    if degradation.flicker:
        frames = np.stack(
            [
                film.brightness_contrast(frame, rng.uniform(0.8, 1.2), rng.uniform(0.9, 1.0), rng.random() < 0.5)
                for frame in frames
            ]
        )
    sample = {"lq": as_clip(frames), "gt": as_clip(target), "mask": torch.from_numpy(hidden)[:, None]}
    if flows is not None:
        sample["forward_flow"], sample["backward_flow"] = (torch.from_numpy(np.ascontiguousarray(f)) for f in flows)
    return sample


def gate_hair(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A dark hair that reaches into the frame from its upper or lower edge: a texture (h, w) uint8."""
    upper = rng.random() < 0.5
    start = np.array([rng.uniform(0, width), 0 if upper else height - 1])
    steps = rng.normal(0, 0.02 * width, (12, 2)) + np.array([rng.normal(0, 1), (1 if upper else -1) * 0.02 * height])
    points = np.round((start + np.cumsum(steps, axis=0)) * 16).astype(np.int32)
    texture = np.full((height, width), 255, np.uint8)
    cv2.polylines(texture, [points], False, 30, max(1, round(min(height, width) / 100)), cv2.LINE_AA, 4)
    return texture


class ProceduralClips(Dataset):
    """Made clips, indexed by (epoch, index): the same for any number of workers. Flow is known.

    size: (height, width). The scenes of validation and test do not change with the epoch, and are of other photographs.
    """

    def __init__(
        self,
        split: Split,
        length: int,
        num_frames: int,
        size: tuple[int, int],
        textures: Textures,
        degradation: film.Degradation,
        seed: int = 0,
        max_speed: float = 6.0,
        structures: float = 0.0,
    ) -> None:
        self.split: Split = split
        self.structures = structures
        self.length, self.num_frames, self.size = length, num_frames, size
        self.textures, self.degradation, self.seed, self.max_speed = textures, degradation, seed, max_speed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        epoch, index = place
        number = ("train", "val", "test").index(self.split)
        # A test set is one set: it changes neither with the epoch nor with the seed of a training.
        rng = np.random.default_rng((self.seed, number, epoch, index) if number == 0 else (0, number, 0, index))
        scene = make_scene(
            rng, self.split, self.num_frames, *self.size, max_speed=self.max_speed, structures=self.structures
        )
        flows = (scene.forward_flow, scene.backward_flow)
        sample = degrade_clip(scene.frames, self.textures, self.degradation, rng, flows)
        return {"key": f"{self.split}_{index:05d}", **sample}


class FilmClips(Dataset):
    """Windows of clean clips on disk, degraded; indexed by (epoch, index), the same for any number of workers.

    clips: as ``find_clips`` gives them. crop: side of the square that is cut out at random; None: whole frames, cut to
    multiples of 16. intervals: distances between frames, one of which is drawn for each window. augment: flips and
    quarter turns. A window begins anywhere in the clip in training, and in its middle otherwise. Clips too short for a
    window are named in the log and left out.

    Raises UserError where no clip is long enough. A corrupt frame is named and the window is None in training; it is an
    error otherwise.
    """

    def __init__(
        self,
        clips: dict[str, list[Path]],
        num_frames: int,
        crop: int | None,
        textures: Textures | None,
        degradation: film.Degradation,
        intervals: Sequence[int] = (1,),
        training: bool = True,
        length: int | None = None,
        seed: int = 0,
    ) -> None:
        short = sorted(name for name, frames in clips.items() if len(frames) < num_frames)
        if short:
            log.warning("%d clips with fewer than %d frames left out: %s", len(short), num_frames, ", ".join(short[:5]))
        self.clips = [(name, frames) for name, frames in sorted(clips.items()) if len(frames) >= num_frames]
        if not self.clips:
            raise UserError(f"no clip has {num_frames} frames: lower data.num_frames or give longer clips")
        self.num_frames, self.crop, self.textures, self.degradation = num_frames, crop, textures, degradation
        self.intervals, self.training, self.seed = tuple(intervals), training, seed
        self.length = length or len(self.clips)

    def __len__(self) -> int:
        return self.length

    def window(self, rng: np.random.Generator, count: int) -> range:
        """Which of a clip's ``count`` frames are taken."""
        fitting = [step for step in self.intervals if (self.num_frames - 1) * step < count] or [1]
        step = int(fitting[rng.integers(len(fitting))]) if self.training else fitting[0]
        span = (self.num_frames - 1) * step
        start = int(rng.integers(count - span)) if self.training else (count - 1 - span) // 2
        return range(start, start + span + 1, step)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any] | None:
        epoch, index = place
        rng = np.random.default_rng((self.seed, int(self.training), epoch if self.training else 0, index))
        name, frames = self.clips[index % len(self.clips)]
        chosen = [frames[i] for i in self.window(rng, len(frames))]
        try:
            clean = np.stack(self._cut([read_grey(path) for path in chosen], rng, name))
        except UserError as error:
            if not self.training:
                raise
            log.warning("skipped: %s", error)
            return None
        return {"key": f"{name}/{chosen[0].stem}", **degrade_clip(clean, self.textures, self.degradation, rng)}

    def _cut(self, images: list[np.ndarray], rng: np.random.Generator, name: str) -> list[np.ndarray]:
        sizes = {image.shape for image in images}
        if len(sizes) > 1:
            raise UserError(f"clip {name} has frames of different sizes: {', '.join(map(str, sorted(sizes)))}")
        height, width = images[0].shape
        if self.crop is None:
            return [image[: height // 16 * 16, : width // 16 * 16] for image in images]
        if min(height, width) < self.crop:
            factor = self.crop / min(height, width)
            size = max(self.crop, round(width * factor)), max(self.crop, round(height * factor))
            images = [cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in images]
            height, width = images[0].shape
        if self.training:
            top, left = int(rng.integers(height - self.crop + 1)), int(rng.integers(width - self.crop + 1))
        else:
            top, left = (height - self.crop) // 2, (width - self.crop) // 2
        images = [image[top : top + self.crop, left : left + self.crop] for image in images]
        if self.training:
            turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
            images = [np.rot90(image[:, ::-1] if mirrored else image, turns) for image in images]
        return images


def collate(samples: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Stack what all samples have; corrupt ones (None) are left out, and a batch of nothing is None."""
    whole = [sample for sample in samples if sample is not None]
    if not whole:
        return None
    batch: dict[str, Any] = {"key": [sample["key"] for sample in whole]}
    for name in whole[0]:
        if name != "key":
            batch[name] = torch.stack([sample[name] for sample in whole])
    return batch
