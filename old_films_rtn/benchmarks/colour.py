"""Colour of key-frames, measured on clips and videos whose true colour is known: carried, found, both, and by temporal attention.

    python benchmarks/colour.py --photographs COCO/val2017 --videos pets09_s2l1.avi,id2_vcd_swwp2s.mpg \\
      --peer runs/temporal_attention.safetensors --figure figures/colour.jpg

Made clips have moving objects that hide, uncover and come in; with true flow, true occlusion and true correspondence in place
of estimates they say where the loss comes from. Videos in colour are turned grey.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared_utils import cli

GIVEN = {"first": [0], "first and last": [0, -1]}
"""Key-frames of a clip."""
SPEED = 3.0
"""Pixels a frame that background and objects of a made clip move at most."""
SHOWN = (2, 5)
"""Made clips in the figure."""
MOVED = 5.0
"""Difference of lightness (of 100) to every key-frame from which on a pixel of a video counts as moved."""


def colour(
    ckpt: str | None = None,
    peer: str | None = None,
    photographs: str | None = None,
    videos: str = "",
    clips: int = 24,
    frames: int = 12,
    side: int = 96,
    video_frames: int = 16,
    video_side: int = 176,
    out: str = "runs/colour",
    figure: str | None = None,
) -> None:
    """Print PSNR of a and b by region, how steady the colour is, and how strong.

    Args:
        ckpt: as for colorize.py; the bundled network where not given.
        peer: weights of peers/temporal_attention.py.
        photographs: a folder of photographs in colour that clips are made of; those of scikit-image for tests where not given.
        videos: files in colour, with commas between; every second frame from the middle is taken.
        clips: made ones, of the same scenes for all.
        frames: of a made clip.
        side: of a made clip, in pixels.
        video_frames: of a video.
        video_side: to which the shorter side of a video is scaled, rounded to 16.
        out: folder for the rows.
        figure: a picture to write: a frame of some made clips, and of every video.
    """
    from old_films_rtn.pretrained import load_colour
    from shared_utils.logging import table, write_table

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model, other = load_colour(ckpt).model, temporal_attention(peer) if peer else None
    shown = []
    for name, given in GIVEN.items():
        made = Scores()
        for number in range(clips):
            sample = made_clip(number, frames, side, photographs)
            answers = methods(model, other, sample, given) | oracles(model, sample, given)
            made.add(answers, sample, regions(sample, given))
            if number in SHOWN:
                shown.append((sample, answers))
        settings = {"made clips": made}
        for file in filter(None, videos.split(",")):
            sample = video_clip(Path(file), video_frames, video_side)
            scores = settings[Path(file).stem] = Scores()
            answers = methods(model, other, sample, given)
            scores.add(answers, sample, moved(sample, given))
            shown.append((sample, answers))
        for setting, scores in settings.items():
            print(table(scores.rows(), f"{setting}, key-frames: {name}"), end="\n\n")
            write_table(scores.rows(), Path(out) / f"{setting}, {name}".replace(", ", "_").replace(" ", "_"))
    if figure:
        draw(shown[: len(shown) // 2], Path(figure))


# Clips ----------------------------------------------------------------------------------------------------------------


def made_clip(number: int, frames: int, side: int, photographs: str | None) -> dict[str, Any]:
    """``lab`` (t, 3, h, w) with the grain and flicker of a film, as ``to_lab``, and the ``scene`` it is of."""
    from old_films_rtn.colour.lab import to_lab
    from old_films_rtn.data.colour import film_noise
    from old_films_rtn.data.procedural import make_scene

    rng = np.random.default_rng((20, number))
    pool = None if photographs is None else folder_of_photographs(photographs)
    scene = make_scene(rng, "test", frames, side, side, SPEED, colour=True, photographs=pool)
    lab = to_lab(scene.frames)
    lab[:, 0] += film_noise(rng, lab[:, 0].shape)
    return {"lab": lab, "scene": scene, "name": "made"}


_pools: dict[str, list[np.ndarray]] = {}


def folder_of_photographs(folder: str) -> list[np.ndarray]:
    """The photographs of a folder that have colour, (h, w, 3) float32 in [0, 1], shorter side 320."""
    import cv2

    from old_films_rtn.video.folder import FrameFolder
    from old_films_rtn.video.frame import Frame
    from old_films_rtn.video.images import read_image

    if folder not in _pools:
        pool = []
        for file in FrameFolder(folder).files:
            image = Frame(0, read_image(file), 0).rgb().astype(np.float32) / 255
            factor = 320 / min(image.shape[:2])
            image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            if np.abs(image - image.mean(-1, keepdims=True)).mean() > 0.02:
                pool.append(image)
        _pools[folder] = pool
    return _pools[folder]


def video_clip(file: Path, frames: int, side: int) -> dict[str, Any]:
    """``lab`` of a video's middle, every second frame, smaller."""
    import cv2

    from old_films_rtn.colour.lab import to_lab
    from old_films_rtn.video.io import open_film

    images = [frame.rgb() for frame in open_film(file).frames()]
    start = max(0, len(images) // 2 - frames)
    images = images[start : start + 2 * frames : 2]
    factor = side / min(images[0].shape[:2])
    width, height = (round(length * factor / 16) * 16 for length in images[0].shape[1::-1])
    images = [cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in images]
    return {"lab": to_lab(np.stack(images)), "scene": None, "name": file.stem}


def network_clip(sample: dict[str, Any], given: list[int]) -> Tensor:
    """(t, 4, h, w), of which only the key-frames keep their colour."""
    from old_films_rtn.models.colour import network_input

    lab = torch.from_numpy(sample["lab"])
    known = torch.zeros(len(lab), 1, *lab.shape[-2:])
    known[given] = 1
    return network_input(lab, known)


# Methods --------------------------------------------------------------------------------------------------------------


def temporal_attention(weights: str) -> Any:
    """The other way, trained."""
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    from temporal_attention import TemporalAttention  # pyright: ignore[reportMissingImports]

    from shared_utils import checkpoint

    model = TemporalAttention()
    checkpoint.import_state_dict(model, checkpoint.load_tensors(Path(weights)), source=weights)
    return model.eval()


def methods(model: Any, other: Any, sample: dict[str, Any], given: list[int]) -> dict[str, Tensor]:
    """a and b (t, 2, h, w), divided by ``AB_SCALE``, of every method that may be used."""
    from old_films_rtn.flow import DIS, clip_flows
    from old_films_rtn.models.colour import seen_along

    clip = network_clip(sample, given)
    flows = clip_flows(DIS(), clip[None, :, :1].expand(-1, -1, 3, -1, -1))
    answers = {
        "grey": clip[:, 1:3],
        "carried": carried(clip, flows),
        "carried, occlusion": carried(clip, flows, seen_along(flows[0], flows[1])),
    }
    answers["found"] = given_or(clip, model.found(clip[None])[0, :, :2])
    if other is not None:
        answers["temporal attention"] = other(clip)
    answers["network"] = model(clip[None], *flows)[0][0]
    return answers


def oracles(model: Any, sample: dict[str, Any], given: list[int]) -> dict[str, Tensor]:
    """The same with what only the generator of a clip knows."""
    from old_films_rtn.models.colour import carried_clip

    scene, clip = sample["scene"], network_clip(sample, given)
    flows = tuple(torch.from_numpy(each)[None] for each in (scene.forward_flow, scene.backward_flow))
    true = tuple(
        torch.from_numpy(each)[None, :, None].float() for each in (scene.forward_visible, scene.backward_visible)
    )
    found = model.found(clip[None])[0]
    exact, copied = found.clone(), torch.zeros_like(clip[:, :1], dtype=torch.bool)
    for key in given:
        there, seen = zip(*(scene.between(i, key % len(clip)) for i in range(len(clip))), strict=True)
        shows = torch.from_numpy(np.stack(seen))[:, None]
        exact = torch.where(shows, sampled(sample["lab"][key], np.stack(there)), exact)
        copied |= shows

    def answer(found: Tensor, seen: Any) -> Tensor:
        behind, ahead = (each[0] for each in carried_clip(clip[None], flows[0], flows[1], seen))
        return model.decode(clip, found, behind, ahead)

    return {
        "carried, true flow": carried(clip, flows),
        "carried, true flow and occlusion": carried(clip, flows, true),
        "network, true flow": answer(found, None),
        "network, true flow and occlusion": answer(found, true),
        "network, true correspondence, too": answer(exact, true),
        "copied where any key-frame has it, else network": given_or(
            clip, torch.where(copied, exact[:, :2], answer(found, true))
        ),
    }


def sampled(lab: np.ndarray, flow: np.ndarray) -> Tensor:
    """What ``Correspondence`` would find in a key-frame (3, h, w) along flows (t, 2, h, w), (t, 4, h, w)."""
    from old_films_rtn.models.colour import AB_SCALE
    from old_films_rtn.models.rtn import warp

    key = torch.from_numpy(np.stack((lab[1] / AB_SCALE, lab[2] / AB_SCALE, lab[0] / 50)))
    there = warp(key.expand(len(flow), -1, -1, -1), torch.from_numpy(flow), "border")
    return torch.cat((there, torch.ones_like(there[:, :1])), dim=1)


def carried(clip: Tensor, flows: Any, seen: Any = None) -> Tensor:
    """What is carried to every frame of a clip (t, 4, h, w), and given. seen: it counts less where the way was not seen."""
    from old_films_rtn.models.colour import arrived, carried_clip

    ways = [each[0].clone() for each in carried_clip(clip[None], flows[0], flows[1], seen)]
    for way in ways if seen is not None else []:
        way[:, 3] *= way[:, 4]
    return given_or(clip, arrived(ways[0], ways[1]))


def given_or(clip: Tensor, answer: Tensor) -> Tensor:
    """The answer, and the given colour in key-frames."""
    return torch.where(clip[:, 3:] > 0, clip[:, 1:3], answer)


# Regions --------------------------------------------------------------------------------------------------------------


def regions(sample: dict[str, Any], given: list[int]) -> dict[str, np.ndarray]:
    """(t, h, w) bool each: objects; what was hidden for a while between a key-frame and here; what no key-frame shows."""
    scene = sample["scene"]
    t = len(scene.frames)
    keys = sorted(key % t for key in given)
    shown = np.stack([np.any([scene.between(i, key)[1] for key in keys], axis=0) for i in range(t)])
    unbroken = []
    for i in range(t):
        ways = []
        for key in keys:
            between = range(min(i, key), max(i, key) + 1)
            ways.append(np.all([scene.between(i, step)[1] for step in between], axis=0))
        unbroken.append(np.any(ways, axis=0))
    return {"objects": scene.objects, "hidden between": shown & ~np.stack(unbroken), "in no key-frame": ~shown}


def moved(sample: dict[str, Any], given: list[int]) -> dict[str, np.ndarray]:
    """What differs from all key-frames."""
    lightness = sample["lab"][:, 0]
    return {"moved": np.min([np.abs(lightness - lightness[key]) for key in given], axis=0) > MOVED}


# Scores ---------------------------------------------------------------------------------------------------------------


class Scores:
    """Sums over clips of one setting, method by method. PSNR of a and b over pixels of all clips, range 220."""

    def __init__(self) -> None:
        self.squares: dict[tuple[str, str], np.ndarray] = {}
        self.others: dict[str, list[tuple[float, float]]] = {}

    def add(self, answers: dict[str, Tensor], sample: dict[str, Any], where: dict[str, np.ndarray]) -> None:
        """The methods' answers to one clip. Key-frames do not count."""
        from old_films_rtn.metrics import colour_consistency, colourfulness
        from old_films_rtn.models.colour import AB_SCALE

        truth = sample["lab"][:, 1:]
        asked = np.abs(answers["grey"].numpy()).max((1, 2, 3)) == 0
        true_rgb = rgb_of(sample["lab"][:, :1], truth)
        strength = np.mean([colourfulness(frame) for frame in true_rgb[asked]])
        for method, answer in ({"truth": None} | answers).items():
            ab = truth if answer is None else answer.numpy() * AB_SCALE
            error = np.square(ab - truth).mean(1)
            for region, inside in ({"all": np.ones_like(error, bool)} | where).items():
                total = self.squares.setdefault((method, region), np.zeros(2))
                total += error[asked][inside[asked]].sum(), inside[asked].sum()
            rgb = true_rgb if answer is None else rgb_of(sample["lab"][:, :1], ab)
            other = self.others.setdefault(method, [])
            strong = float(np.mean([colourfulness(frame) for frame in rgb[asked]]) / strength)
            other.append((colour_consistency(rgb), strong))

    def rows(self) -> list[dict[str, Any]]:
        """One row a method."""
        rows = []
        for method, others in self.others.items():
            row: dict[str, Any] = {"method": method}
            for (name, region), (total, count) in self.squares.items():
                if name == method and method != "truth":
                    row[region] = float(10 * np.log10(220**2 * count / max(total, 1e-9)))
            consistency, strength = np.mean(others, axis=0)
            rows.append(row | {"CDC (1e-3)": 1e3 * float(consistency), "colourfulness": float(strength)})
        return rows


def rgb_of(lightness: np.ndarray, ab: np.ndarray) -> np.ndarray:
    """(t, h, w, 3) uint8 of L - 50 (t, 1, h, w) and a, b (t, 2, h, w)."""
    from old_films_rtn.colour.lab import from_lab

    return np.rint(from_lab(np.concatenate((lightness, ab), axis=1)).transpose(0, 2, 3, 1) * 255).astype(np.uint8)


def draw(shown: list[tuple[dict[str, Any], dict[str, Tensor]]], path: Path) -> None:
    """A row a clip: its key-frame, a later frame in grey, by every method, and the truth."""
    from matplotlib.figure import Figure

    from old_films_rtn.models.colour import AB_SCALE
    from shared_utils.logging import save_figure

    columns = ("key-frame", "grey", "carried", "found", "temporal attention", "network", "truth")
    columns = [name for name in columns if name in ("key-frame", "truth") or name in shown[0][1]]
    heights = [2 * sample["lab"].shape[2] / sample["lab"].shape[3] for sample, _ in shown]
    figure = Figure(figsize=(2 * len(columns), sum(heights) + 0.3), layout="constrained")
    grid = figure.subplots(len(shown), len(columns), squeeze=False, gridspec_kw={"height_ratios": heights})
    for number, (row, (sample, answers)) in enumerate(zip(grid, shown, strict=True)):
        lab = sample["lab"]
        late = 3 * len(lab) // 4
        for axis, name in zip(row, columns, strict=True):
            index = 0 if name == "key-frame" else late
            ab = answers[name][index].numpy() * AB_SCALE if name in answers else lab[index, 1:]
            axis.imshow(rgb_of(lab[index : index + 1, :1], ab[None])[0], interpolation="nearest")
            axis.axis("off")
            if number == 0:
                axis.set_title(name, fontsize=10)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(cli.run(colour))
