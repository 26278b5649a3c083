"""The scene of the procedural crowd: ground, light, things that hide people, and who walks where."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from mot_occlusion.data.crowd_walkers import Walker, draw_walker, new_look, random_colour


class Frame(NamedTuple):
    """image: (H, W, 3) uint8 RGB. ids: (N,), from 1. boxes: (N, 4) x, y, w, h in pixels from 0.

    visibility: (N,) share of the whole silhouette's pixels that are seen.
    """

    image: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    visibility: np.ndarray


class Scene:
    """Ground, light, things that stand about, and the walkers; ``step`` moves them by one frame."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int], num_people: tuple[int, int]) -> None:
        self.rng, (self.height, self.width) = rng, size
        self.target = int(rng.integers(num_people[0], num_people[1] + 1))
        self.horizon = self.height * rng.uniform(0.30, 0.40)
        self.near, self.far = self.height * rng.uniform(0.40, 0.48), self.height * rng.uniform(0.17, 0.21)
        self.walkers: list[Walker] = []
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
        wall, ground = random_colour(rng) * 0.5 + 60, np.array([120, 115, 108]) * rng.uniform(0.7, 1.3)
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
        patch[:] = random_colour(rng) * 0.8
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
            walker = Walker(
                number=self.born,
                look=new_look(rng, [other.look for other in self.walkers]),
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
        """Move all walkers by one frame."""
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
        """Draw frame ``number``, from far to near."""
        canvas, owner = self.background.copy(), np.zeros((self.height, self.width), np.int32)
        people = []
        things = [(walker.y, walker) for walker in self.walkers] + [(thing[0], thing) for thing in self.obstacles]
        for foot, thing in sorted(things, key=lambda pair: pair[0]):
            if not isinstance(thing, Walker):
                _paint(canvas, owner, thing[1], thing[2], thing[3], thing[4], 0)
                continue
            height = self.person_height(foot) * thing.size
            patch, alpha, box, left, top = draw_walker(thing, height)
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
                rows.append((walker_number, *box, visible[walker_number] / max(total, 1)))
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
