"""A procedural crowd with exact ground truth, in the layout of MOT17, so that every tool for the real thing works on it.

Walkers of many clothes (some nearly alike) walk, stop, turn, go in groups, enter and leave at the borders, and pass
behind one another, poles and cars; depth follows the foot's place on the ground. The light drifts in strength and in
colour, shade lies on the ground, the camera is noisy. Boxes are whole (amodal) and exact; visibility is counted in
rendered pixels. Everything follows from the seed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from shared_utils import UserError, logging

#: Of the drawing: the same seed draws the same pixels as long as it stays.
VERSION = 1
#: Frames a second of a sequence: walkers move as people do at this rate.
FRAME_RATE = 25
# Sprites are drawn this many times larger and averaged down, which gives soft edges and boxes to a third of a pixel.
_SHARPNESS = 3


class Frame(NamedTuple):
    """image: (H, W, 3) uint8 RGB. ids: (N,), from 1. boxes: (N, 4) x, y, w, h in pixels, counted from 1 as MOT does.

    visibility: (N,) share of the whole silhouette's pixels that are seen.
    """

    image: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    visibility: np.ndarray


@dataclass
class _Look:
    """What a person wears; colours are RGB."""

    shirt: np.ndarray
    trousers: np.ndarray
    second: np.ndarray
    shoes: np.ndarray
    skin: np.ndarray
    hair: np.ndarray
    pattern: str
    hat: bool
    bag: str
    skirt: bool
    girth: float


@dataclass
class _Walker:
    number: int
    look: _Look
    x: float
    y: float
    heading: float
    pace: float
    size: float
    phase: float
    stopped: int = 0
    leader: _Walker | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    seen: bool = field(default=False)


def _colour(rng: np.random.Generator) -> np.ndarray:
    hue, saturation, value = rng.uniform(0, 180), 255 * rng.beta(1.6, 1.6), rng.uniform(45, 235)
    pixel = np.array([[[hue, saturation, value]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float64)


def _new_look(rng: np.random.Generator, others: list[_Look]) -> _Look:
    skin = np.array([224, 172, 138]) * rng.uniform(0.35, 1.05)
    look = _Look(
        shirt=_colour(rng),
        trousers=_colour(rng) * rng.uniform(0.4, 1.0),
        second=_colour(rng),
        shoes=_colour(rng) * 0.5,
        skin=skin,
        hair=np.array([70, 50, 35]) * rng.uniform(0.2, 2.2),
        pattern=str(rng.choice(["plain", "plain", "stripes", "bars", "patch", "vest"])),
        hat=bool(rng.random() < 0.25),
        bag=str(rng.choice(["none", "none", "backpack", "handbag"])),
        skirt=bool(rng.random() < 0.2),
        girth=rng.uniform(0.85, 1.2),
    )
    if others and rng.random() < 0.1:
        # Nearly the same clothes as somebody else who is there.
        twin = others[rng.integers(len(others))]
        look.shirt, look.pattern, look.second = twin.shirt + rng.normal(0, 6, 3), twin.pattern, twin.second
        if rng.random() < 0.5:
            look.trousers = twin.trousers + rng.normal(0, 6, 3)
    return look


class _Scene:
    """Ground, light, things that stand about, and the walkers; ``step`` moves them by one frame."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], num_people: tuple[int, int]) -> None:
        self.rng, (self.height, self.width) = rng, size
        self.target = int(rng.integers(num_people[0], num_people[1] + 1))
        self.horizon = self.height * rng.uniform(0.30, 0.40)
        self.near, self.far = self.height * rng.uniform(0.40, 0.48), self.height * rng.uniform(0.17, 0.21)
        self.walkers: list[_Walker] = []
        self.born = 0
        self.background, self.shade = self._background(), self._shade()
        self.gloom = (self.background.mean((0, 1)) * 0.55).tolist()
        self.obstacles = [self._obstacle(kind) for kind in rng.choice(["pole", "car", "pole", "sign"], 3)]
        self.drift = [(rng.uniform(60, 160), rng.uniform(0, 2 * np.pi)) for _ in range(2)]
        while len(self.walkers) < self.target:
            self._enter(anywhere=True)

    def person_height(self, y: float) -> float:
        """Pixels of a person of size 1 whose foot stands at ``y``."""
        depth = (y - self.horizon) / (self.height - self.horizon)
        return self.far + (self.near - self.far) * depth

    def _background(self) -> np.ndarray:
        rng, horizon = self.rng, round(self.horizon * 0.8)
        image = np.empty((self.height, self.width, 3), np.float32)
        wall, ground = _colour(rng) * 0.5 + 60, np.array([120, 115, 108]) * rng.uniform(0.7, 1.3)
        image[:horizon], image[horizon:] = wall, ground
        for x in range(0, self.width, int(rng.integers(18, 40))):  # windows
            image[int(horizon * 0.2) : int(horizon * 0.7), x : x + 9] = wall * rng.uniform(0.5, 1.4)
        vanishing = self.width * rng.uniform(0.2, 0.8)
        for x in range(-3 * self.width, 4 * self.width, 45):  # joints between slabs, towards a vanishing point
            cv2.line(image, (x, self.height), (round(vanishing), round(horizon * 0.6)), tuple(ground * 0.9), 1)
        image[:horizon] = np.where(
            image[:horizon] == np.float32(ground * 0.9), wall.astype(np.float32), image[:horizon]
        )
        depth = 1.0
        while depth < 12:
            y = round(horizon + (self.height - horizon) / depth)
            cv2.line(image, (0, y), (self.width, y), tuple(ground * 0.9), 1)
            depth *= 1.35
        grain = cv2.GaussianBlur(rng.normal(0, 22, image.shape[:2]).astype(np.float32), (0, 0), 1.2)
        return image + grain[..., None]

    def _shade(self) -> np.ndarray:
        """(H, W, 1) factor of light: a few soft shadows lie on the ground."""
        shade = np.ones((self.height, self.width), np.float32)
        for _ in range(self.rng.integers(1, 4)):
            x, width, lean = self.rng.uniform(0, self.width), self.rng.uniform(20, 80), self.rng.uniform(-60, 60)
            top, bottom = round(self.horizon * 0.8), self.height
            corners = [(x, top), (x + width, top), (x + width + lean, bottom), (x + lean, bottom)]
            cv2.fillPoly(shade, [np.array(corners, np.int32)], float(self.rng.uniform(0.5, 0.75)))
        return cv2.GaussianBlur(shade, (0, 0), 5)[..., None]

    def _obstacle(self, kind: str) -> tuple[float, np.ndarray, np.ndarray, int, int]:
        """(foot, colour patch, alpha, left, top) of something that hides people behind it."""
        rng = self.rng
        foot = rng.uniform(self.horizon + 0.25 * (self.height - self.horizon), self.height * 0.97)
        unit = self.person_height(foot)
        height, width = {"pole": (2.2, 0.16), "sign": (1.5, 0.45), "car": (0.85, 2.1)}[kind]
        height, width = max(2, round(height * unit)), max(3, round(width * unit))
        patch, alpha = np.empty((height, width, 3), np.float32), np.ones((height, width), np.float32)
        patch[:] = _colour(rng) * 0.8
        if kind == "car":
            patch[: height // 2, width // 5 : -width // 5] *= 0.5
            alpha[: height // 2, : width // 6], alpha[: height // 2, -width // 6 :] = 0, 0
            for x in (width // 4, 3 * width // 4):
                cv2.circle(patch, (x, height - height // 6), max(1, height // 6), (25, 25, 25), -1)
        elif kind == "sign":
            alpha[height // 2 :, : width * 2 // 5], alpha[height // 2 :, width * 3 // 5 :] = 0, 0
            patch[: height // 2 : 4] *= 0.6
        left = round(rng.uniform(0.05, 0.95) * self.width - width / 2)
        return foot, patch, alpha, left, round(foot) - height

    def _enter(self, anywhere: bool = False) -> None:
        """One walker, or a group of two or three who keep together."""
        rng = self.rng
        bottom = self.height + 0.12 * self.near
        y = rng.uniform(self.horizon + 0.12 * (self.height - self.horizon), bottom)
        x, heading = rng.uniform(0, self.width), rng.uniform(0, 2 * np.pi)
        if not anywhere:
            left = bool(rng.random() < 0.5)
            reach = 0.25 * self.person_height(y)
            x = -reach if left else self.width + reach
            heading = rng.uniform(-0.5, 0.5) + (0 if left else np.pi)
        leader = None
        for member in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))):
            self.born += 1
            walker = _Walker(
                number=self.born,
                look=_new_look(rng, [other.look for other in self.walkers]),
                x=x,
                y=y,
                heading=heading,
                pace=rng.uniform(0.018, 0.036),
                size=rng.normal(1, 0.07),
                phase=rng.uniform(0, 2 * np.pi),
            )
            if leader is not None:
                unit = self.person_height(y)
                walker.leader, walker.pace = leader, leader.pace
                walker.offset = (
                    rng.choice([-1, 1]) * unit * rng.uniform(0.18, 0.4) * member,
                    unit * rng.uniform(-0.1, 0.1),
                )
                walker.x, walker.y = x + walker.offset[0], y + walker.offset[1]
            leader = leader or walker
            self.walkers.append(walker)

    def step(self) -> None:
        rng = self.rng
        top, bottom = self.horizon + 0.08 * (self.height - self.horizon), self.height + 0.15 * self.near
        for walker in self.walkers:
            if walker.leader in self.walkers:
                walker.heading, walker.stopped = walker.leader.heading, walker.leader.stopped
            elif walker.stopped:
                walker.stopped -= 1
                if not walker.stopped and rng.random() < 0.5:
                    walker.heading += rng.uniform(1.5, 4.5)
            elif rng.random() < 0.006:
                walker.stopped = int(rng.integers(12, 50))
            elif rng.random() < 0.012:
                walker.heading += rng.normal(0, 1.2)
            walker.heading += rng.normal(0, 0.03)
            if walker.stopped:
                continue
            speed = walker.pace * self.person_height(walker.y)
            walker.x += speed * np.cos(walker.heading)
            walker.y += 0.45 * speed * np.sin(walker.heading)
            walker.phase += 2 * np.pi * walker.pace / 0.85
            if not top < walker.y < bottom:
                walker.y = float(np.clip(walker.y, top, bottom))
                walker.heading = -walker.heading
        inside = []
        for walker in self.walkers:
            reach = 0.3 * self.person_height(walker.y)
            outward = np.cos(walker.heading) * (1 if walker.x > self.width / 2 else -1) > 0
            if -reach < walker.x < self.width + reach or not outward:
                inside.append(walker)
        self.walkers = inside
        if len(self.walkers) < self.target and rng.random() < 0.25:
            self._enter()

    def light(self, number: int) -> np.ndarray:
        """(3,) factor of red, green, blue at a frame: strength and colour drift with periods of their own."""
        strength, warmth = (np.sin(2 * np.pi * number / period + phase) for period, phase in self.drift)
        return (1 + 0.2 * strength) * np.array([1 + 0.12 * warmth, 1, 1 - 0.12 * warmth])

    def render(self, number: int) -> Frame:
        canvas, owner = self.background.copy(), np.zeros((self.height, self.width), np.int32)
        people = []
        things = [(walker.y, walker) for walker in self.walkers] + [(thing[0], thing) for thing in self.obstacles]
        for foot, thing in sorted(things, key=lambda pair: pair[0]):
            if not isinstance(thing, _Walker):
                _paint(canvas, owner, thing[1], thing[2], thing[3], thing[4], 0)
                continue
            height = self.person_height(foot) * thing.size
            patch, alpha, box, left, top = _draw(thing, height)
            ellipse = (round(thing.x), round(foot)), (round(0.2 * height), max(1, round(0.04 * height)))
            cv2.ellipse(canvas, *ellipse, 0, 0, 360, self.gloom, -1)
            _paint(canvas, owner, patch, alpha, left, top, thing.number)
            people.append((thing.number, box, int((alpha > 0.5).sum())))
        canvas *= self.shade * self.light(number).astype(np.float32)
        canvas = cv2.GaussianBlur(canvas, (0, 0), 0.6) + self.rng.normal(0, 4.5, canvas.shape)
        image = np.clip(canvas, 0, 255).astype(np.uint8)

        visible = np.bincount(owner.reshape(-1), minlength=self.born + 1)
        rows = []
        for walker_number, box, total in people:
            low, high = np.maximum(box[:2], 0), np.minimum(box[:2] + box[2:], (self.width, self.height))
            if np.prod(np.maximum(high - low, 0)) > 0.15 * np.prod(box[2:]):
                rows.append((walker_number, *(box + np.array([1, 1, 0, 0])), visible[walker_number] / max(total, 1)))
        table = np.array(sorted(rows), np.float64).reshape(-1, 6)
        return Frame(image, table[:, 0].astype(np.int64), table[:, 1:5], table[:, 5])


def _paint(
    canvas: np.ndarray, owner: np.ndarray, patch: np.ndarray, alpha: np.ndarray, left: int, top: int, number: int
) -> None:
    height, width = owner.shape
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + alpha.shape[1], width), min(top + alpha.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return
    window = (slice(y0, y1), slice(x0, x1))
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    share = alpha[part][..., None]
    canvas[window] += share * (patch[part] - canvas[window])
    owner[window][alpha[part] > 0.5] = number


def _draw(walker: _Walker, height: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """A walker as (colour patch, alpha, exact box x, y, w, h, left, top); the patch lies at (left, top) of the image."""
    look, unit = walker.look, height * _SHARPNESS
    side = np.cos(walker.heading)
    half = round(0.34 * height) + 2
    left, top = int(np.floor(walker.x)) - half, int(np.floor(walker.y - height)) - 2
    size = ((int(np.ceil(height)) + 6) * _SHARPNESS, 2 * half * _SHARPNESS)
    colour, mask = np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8)
    origin = np.array([walker.x - left, walker.y - height - top]) * _SHARPNESS
    swing = np.sin(walker.phase) * (0 if walker.stopped else 1) * (0.4 + 0.6 * abs(side))
    girth = look.girth * (0.8 + 0.2 * abs(np.sin(walker.heading)))

    def at(x: float, y: float) -> tuple[int, int]:
        """A place in heights of the person: x from the middle, y from the crown."""
        return round(float(origin[0] + x * unit)), round(float(origin[1] + y * unit))

    def limb(start: tuple[float, float], end: tuple[float, float], width: float, paint: np.ndarray) -> None:
        thickness = max(1, round(width * unit))
        cv2.line(colour, at(*start), at(*end), tuple(paint), thickness)
        cv2.line(mask, at(*start), at(*end), 255, thickness)

    def shape(corners: list[tuple[float, float]], paint: np.ndarray) -> None:
        polygon = [np.array([at(*corner) for corner in corners], np.int32)]
        cv2.fillPoly(colour, polygon, tuple(paint))
        cv2.fillPoly(mask, polygon, 255)

    def disc(x: float, y: float, radius: float, paint: np.ndarray) -> None:
        cv2.circle(colour, at(x, y), max(1, round(radius * unit)), tuple(paint), -1)
        cv2.circle(mask, at(x, y), max(1, round(radius * unit)), 255, -1)

    shoulder, hip = 0.13 * girth, 0.10 * girth
    back = -np.sign(side) if abs(side) > 0.2 else 1.0
    limb((-shoulder * 0.9, 0.2), (-shoulder - 0.02 + 0.1 * swing, 0.46), 0.05, look.shirt * 0.75)  # far arm
    for foot, sign in ((-0.04, -1), (0.04, 1)):
        knee = (foot + 0.06 * sign * swing, 0.74)
        end = (foot + 0.14 * sign * swing, 0.965)
        paint = look.skin if look.skirt else look.trousers * (0.8 if sign < 0 else 1)
        limb((foot, 0.52), knee, 0.075 * girth, paint)
        limb(knee, end, 0.06 * girth, paint)
        limb(end, (end[0] + 0.04 * np.sign(side or 1), 0.98), 0.04, look.shoes)
    if look.skirt:
        shape([(-hip, 0.48), (hip, 0.48), (hip + 0.05, 0.72), (-hip - 0.05, 0.72)], look.trousers)
    if look.bag == "backpack":
        shape([(back * 0.04, 0.19), (back * 0.21, 0.21), (back * 0.2, 0.42), (back * 0.04, 0.42)], look.second)
    torso = [
        (-shoulder, 0.17),
        (-shoulder * 0.5, 0.14),
        (shoulder * 0.5, 0.14),
        (shoulder, 0.17),
        (hip, 0.53),
        (-hip, 0.53),
    ]
    shape(torso, look.shirt)
    inner = min(shoulder, hip) * 0.95
    if look.pattern == "stripes":
        for y in np.arange(0.18, 0.5, 0.075):
            shape([(-inner, y), (inner, y), (inner, y + 0.035), (-inner, y + 0.035)], look.second)
    elif look.pattern == "bars":
        for x in np.arange(-inner, inner, 0.07):
            shape([(x, 0.17), (x + 0.03, 0.17), (x + 0.03, 0.52), (x, 0.52)], look.second)
    elif look.pattern == "patch":
        shape([(-0.05, 0.22), (0.06, 0.22), (0.06, 0.33), (-0.05, 0.33)], look.second)
    elif look.pattern == "vest":
        shape([(-0.03, 0.15), (0.03, 0.15), (0.03, 0.53), (-0.03, 0.53)], look.second)
    limb((shoulder * 0.9, 0.2), (shoulder + 0.02 - 0.1 * swing, 0.46), 0.05, look.shirt * 0.9)
    disc(shoulder + 0.02 - 0.1 * swing, 0.48, 0.022, look.skin)
    if look.bag == "handbag":
        x = shoulder + 0.03 - 0.1 * swing
        shape([(x - 0.05, 0.5), (x + 0.06, 0.5), (x + 0.06, 0.6), (x - 0.05, 0.6)], look.second)
    disc(0, 0.075, 0.062, look.skin)
    disc(back * 0.012, 0.058, 0.058, look.hair)
    disc(-back * 0.02, 0.085, 0.045, look.skin)
    if look.hat:
        shape([(-0.075, 0.045), (0.075, 0.045), (0.05, 0.0), (-0.05, 0.0)], look.second)

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = np.array([columns[0], rows[0]]) / _SHARPNESS
    high = np.array([columns[-1] + 1, rows[-1] + 1]) / _SHARPNESS
    small = (size[1] // _SHARPNESS, size[0] // _SHARPNESS)
    alpha = cv2.resize(mask, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # Averaged with the black around it, so divided by the share of it that is the person.
    patch = cv2.resize(colour, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    patch /= np.maximum(alpha, 1 / 64)[..., None]
    box = np.concatenate((low + np.array([left, top]), high - low))
    return patch, alpha, box, left, top


def render_crowd(
    seed: int, num_frames: int, size: tuple[int, int] = (192, 320), num_people: tuple[int, int] = (10, 25)
) -> Iterator[Frame]:
    """The frames of one sequence. size: (height, width) in pixels. num_people: the range from which its crowd is drawn."""
    scene = _Scene(np.random.default_rng(seed), size, num_people)
    for number in range(num_frames):
        yield scene.render(number)
        scene.step()


def write_crowd(
    out: str | Path,
    num_sequences: int = 4,
    num_frames: int = 150,
    seed: int = 0,
    size: tuple[int, int] = (192, 320),
    num_people: tuple[int, int] = (10, 25),
) -> list[Path]:
    """Sequences ``CROWD-01``, ... in the MOT17 layout under ``out``; returns their folders.

    A sequence appears under its name when it is whole; one that is there already stays as it is. Raises UserError for
    counts and sizes below 1, and sides that are no multiples of 32.
    """
    out = Path(out)
    if num_sequences < 1 or num_frames < 1 or num_people[0] < 1 or num_people[1] < num_people[0]:
        raise UserError("sequences, frames and people must be at least 1: give other numbers")
    if min(size) < 64 or size[0] % 32 or size[1] % 32:
        raise UserError(f"a crowd of {size[1]}x{size[0]} pixels: sides must be multiples of 32, from 64 on")
    folders = [out / f"CROWD-{number:02d}" for number in range(1, num_sequences + 1)]
    missing = [(number, folder) for number, folder in enumerate(folders) if not folder.exists()]
    for number, folder in logging.progress(missing, "drawing the crowd") if missing else ():
        _write_sequence(folder, render_crowd(seed * 1000 + number, num_frames, size, num_people), num_frames, size)
    return folders


def _write_sequence(folder: Path, frames: Iterator[Frame], num_frames: int, size: tuple[int, int]) -> None:
    building = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    (building / "img1").mkdir(parents=True)
    (building / "gt").mkdir()
    lines = []
    for number, frame in enumerate(frames, 1):
        bgr = np.ascontiguousarray(frame.image[..., ::-1])
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
        (building / "img1" / f"{number:06d}.jpg").write_bytes(encoded.tobytes())
        for person, box, visibility in zip(frame.ids, frame.boxes, frame.visibility, strict=True):
            place = ",".join(f"{value:.2f}" for value in box)
            lines.append(f"{number},{person},{place},1,1,{visibility:.4f}\n")
    (building / "gt" / "gt.txt").write_text("".join(lines))
    (building / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={FRAME_RATE}\nseqLength={num_frames}\n"
        f"imWidth={size[1]}\nimHeight={size[0]}\nimExt=.jpg\n"
    )
    building.replace(folder)
