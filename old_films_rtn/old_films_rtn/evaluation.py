"""Restorations held against the truth, beside the input and classical baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from old_films_rtn import metrics
from old_films_rtn.data.clips import FilmClips, ProceduralClips, find_clips
from old_films_rtn.data.degradation import Degradation, FilmWear
from old_films_rtn.data.textures import DrawnTextures, TemplateTextures
from old_films_rtn.flow import DIS, FlowSource, clip_flows
from old_films_rtn.models.rtn import RTN, warp
from shared_utils import UserError, distributed

DEGRADATION = Degradation(sharpen_target=False, quality=0.0, flicker=False, wear=FilmWear(flicker=0.06, grain=0.03))
"""What networks are compared on: all kinds of defects, slow flicker, grain. The default recipe trains on the same."""


def held_out(
    clips: int, frames: int, size: int, root: str | None = None, textures: str | None = None, max_speed: float = 3.0
) -> Dataset:
    """Degraded clips to compare networks on, indexed by (0, index): made ones of photographs that no training sees, or the
    middles of those in ``root``; with drawn defects, or those of a folder of templates."""
    contaminants = DrawnTextures() if textures is None else TemplateTextures(textures)
    if root is None:
        return ProceduralClips("test", clips, frames, (size, size), contaminants, DEGRADATION, max_speed=max_speed)
    found = find_clips(root)
    return FilmClips(found, frames, size, contaminants, DEGRADATION, training=False, length=min(clips, len(found)))


Restore = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(clip (1, t, 3, h, w), forward flow, backward flow) -> restored clip."""


def temporal_median(clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """Median of three frames, both neighbours brought to the frame by the flow; clip (n, t, c, h, w), flows as ``RTN``.

    At the ends of the clip the two frames on one side are used, the further one by the flows one after the other. A clip
    of fewer than three frames stays as it is.
    """
    t = clip.shape[1]
    if t < 3:
        return clip
    # Where a neighbour is outside the frame, its border stands for it: zeros would win a median.
    before = [warp(clip[:, i - 1], forward_flow[:, i - 1], "border") for i in range(1, t)]
    after = [warp(clip[:, i + 1], backward_flow[:, i], "border") for i in range(t - 1)]

    def twice(flow: Tensor, following: Tensor) -> Tensor:
        return flow + warp(following, flow, "border")

    first = warp(clip[:, 2], twice(backward_flow[:, 0], backward_flow[:, 1]), "border")
    last = warp(clip[:, -3], twice(forward_flow[:, -1], forward_flow[:, -2]), "border")
    before, after = [first, *before], [*after, last]
    return torch.stack(
        [
            torch.stack((a, clip[:, i], b)).median(dim=0).values
            for i, (a, b) in enumerate(zip(before, after, strict=True))
        ],
        dim=1,
    )


def residual_map(clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
    """The classical detector (n, t, 1, h, w): the smaller difference to the two aligned neighbours, of channel 0.

    At the ends of the clip there is one neighbour only. In the clip's units.
    """
    t = clip.shape[1]
    grey = clip[:, :, :1]
    found = []
    for i in range(t):
        differences = []
        if i > 0:
            differences.append((warp(grey[:, i - 1], forward_flow[:, i - 1], "border") - grey[:, i]).abs())
        if i < t - 1:
            differences.append((warp(grey[:, i + 1], backward_flow[:, i], "border") - grey[:, i]).abs())
        found.append(torch.stack(differences).amin(0) if differences else torch.zeros_like(grey[:, i]))
    return torch.stack(found, dim=1)


def single_frames(rtn: RTN) -> Restore:
    """A network without recurrence: every frame is a clip of its own."""

    def restore(clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
        frames = clip.flatten(0, 1)[:, None]
        nothing = clip.new_zeros(len(frames), 0, 2, *clip.shape[-2:])
        return rtn(frames, nothing, nothing)[0].view_as(clip)

    return restore


class Evaluation:
    """Scores of several methods over degraded clips whose truth is known.

    methods: name -> ``Restore``. detectors: name -> function of (clip, forward flow, backward flow) that gives a map
    (1, t, 1, h, w), larger where a defect is. source: where the flow comes from that they get; None: the known one.
    ``rows`` holds a row a clip and method; those of other processes can be added to it.
    """

    def __init__(
        self,
        methods: dict[str, Restore],
        detectors: dict[str, Restore],
        source: FlowSource | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.methods, self.detectors, self.source, self.device = methods, detectors, source, device
        self.rows: list[dict[str, Any]] = []
        self._scores: dict[str, list[np.ndarray]] = {name: [] for name in detectors}
        self._truth: list[np.ndarray] = []

    @torch.no_grad()
    def add(self, sample: dict[str, Any]) -> None:
        """One sample of ``data.clips``."""
        clip, target = (sample[name][None].to(self.device) for name in ("lq", "gt"))
        true = (sample["mask"][None] > metrics.DEFECT).to(self.device)
        known = None
        if "forward_flow" in sample:
            known = tuple(sample[name][None].to(self.device) for name in ("forward_flow", "backward_flow"))
        if self.source is None and known is None:
            raise UserError("the flow of these clips is not known: give --flow dis or raft:FILE")
        flows = clip_flows(self.source, clip) if self.source is not None else known
        # Steadiness is measured along the motion of the clean clip, the same for every method.
        clean_flows = known or clip_flows(self.source, target)
        for name, method in self.methods.items():
            restored = method(clip, *flows)
            row = {"clip": sample["key"], "method": name}
            for part, where in (("", torch.ones_like(true)), (" inside", true), (" outside", ~true)):
                error = float(metrics.mean_squared(restored, target, where)) if where.any() else float("nan")
                row[f"psnr{part}"] = float(-10 * np.log10(max(error, 1e-10)))
            row["ssim"] = clip_scores(restored[0], target[0])["ssim"]
            row["warping error"] = metrics.warping_error(restored[0], clean_flows[1][0], clean_flows[0][0])
            self.rows.append(row)
        inner = slice(1, -1) if clip.shape[1] > 2 else slice(None)
        self._truth.append(true[:, inner].cpu().numpy().ravel())
        for name, detector in self.detectors.items():
            self._scores[name].append(detector(clip, *flows)[:, inner].float().cpu().numpy().ravel())

    def gather(self) -> None:
        """Make every process's scores those of all of them."""
        self.rows = [row for rows in distributed.gather_objects(self.rows) for row in rows]
        self._truth = [part for parts in distributed.gather_objects(self._truth) for part in parts]
        self._scores = {
            name: [part for parts in distributed.gather_objects(scores) for part in parts]
            for name, scores in self._scores.items()
        }

    def summary(self) -> list[dict[str, Any]]:
        """A row a method: means over the clips. ``warping error`` in thousandths."""
        table = []
        for name in self.methods:
            own = [row for row in self.rows if row["method"] == name]
            means = {
                key: float(np.nanmean([row[key] for row in own])) for key in own[0] if key not in ("clip", "method")
            }
            means["warping error"] *= 1e3
            table.append({"method": name, **means})
        return table

    def is_undecided(self, name: str) -> bool:
        """Whether a map is near 0.5 everywhere, as the mask of a network is that tells nothing from the film."""
        scores = np.concatenate(self._scores[name])
        return abs(float(scores.mean()) - 0.5) < 0.05 and float(scores.std()) < 0.05

    def masks(self) -> list[dict[str, Any]]:
        """A row a detector: scores over all pixels of all interior frames."""
        truth = np.concatenate(self._truth)
        return [
            {"mask": name, **metrics.mask_scores(np.concatenate(scores), truth)._asdict()}
            for name, scores in self._scores.items()
        ]


class Recurrent:
    """A network as a method and as detectors that share one pass over a clip."""

    def __init__(self, rtn: RTN) -> None:
        self.rtn = rtn
        self._clip, self._result = None, None

    def _pass(self, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self._clip is not clip:
            self._clip, self._result = clip, self.rtn(clip, forward_flow, backward_flow)
        return self._result

    def __call__(self, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
        """The restored clip."""
        return self._pass(clip, forward_flow, backward_flow)[0]

    def masks(self) -> dict[str, Restore]:
        """The maps of the gates: a direction each, and the larger of both."""
        return {
            "mask": lambda *inputs: torch.maximum(*self._pass(*inputs)[1:]),
            "mask, forward": lambda *inputs: self._pass(*inputs)[1],
            "mask, backward": lambda *inputs: self._pass(*inputs)[2],
        }


# Folders of frames -----------------------------------------------------------------------------------------------------


def clip_scores(restored: Tensor, target: Tensor, protocol: str = "script") -> dict[str, float]:
    """Mean PSNR and SSIM over the frames of clips (t, 3, h, w) in [-1, 1]. protocol: ``script`` (8-bit colour, Gaussian
    window 11) or ``paper`` (grey, uniform window 21)."""
    pairs = [
        (metrics.to_uint8((a + 1) / 2), metrics.to_uint8((b + 1) / 2)) for a, b in zip(restored, target, strict=True)
    ]
    return image_scores(pairs, protocol)


def image_scores(pairs: Iterable[tuple[np.ndarray, np.ndarray]], protocol: str) -> dict[str, float]:
    """Mean PSNR and SSIM of pairs of images (h, w, 3) BGR uint8."""
    functions = {
        "script": (metrics.psnr, metrics.ssim),
        "paper": (metrics.protocol_psnr, metrics.protocol_ssim),
    }[protocol]
    scores = np.array([[function(*pair) for function in functions] for pair in pairs])
    return dict(zip(("psnr", "ssim"), map(float, scores.mean(0)), strict=True))


def read_bgr(path: Path) -> np.ndarray:
    """(h, w, 3) BGR uint8. Raises UserError for a file that cannot be decoded."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f"{path} cannot be read as an image: write it again")
    return image


def matching_clips(restored: str | Path, target: str | Path) -> dict[str, tuple[list[Path], list[Path]]]:
    """Clip name -> restored and true frames, of two folders of the same layout.

    Raises UserError where clips or numbers of frames do not match.
    """
    ours, theirs = find_clips(restored), find_clips(target)
    if len(ours) == len(theirs) == 1:
        ours = dict(zip(theirs, ours.values(), strict=True))
    for name, frames in theirs.items():
        if name not in ours:
            raise UserError(f"clip {name} of {target} is not in {restored}: restore it first")
        if len(ours[name]) != len(frames):
            raise UserError(f"clip {name} has {len(ours[name])} frames in {restored} and {len(frames)} in {target}")
    return {name: (ours[name], frames) for name, frames in theirs.items()}


def mean_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over clips of rows of ``score_folder``; of those that have a number."""
    means: dict[str, Any] = {"clip": "mean", "frames": sum(row["frames"] for row in rows)}
    for name in rows[0]:
        if name not in means:
            numbers = [row[name] for row in rows if isinstance(row[name], float)]
            means[name] = float(np.mean(numbers)) if numbers else rows[0][name]
    return means


def perceptual_distance(files: Sequence[str | Path]) -> metrics.LPIPS:
    """LPIPS of the files of AlexNet and of its linear layers. Raises UserError where they are not two, or not those."""
    from old_films_rtn.published import state_of
    from shared_utils import checkpoint

    if len(files) != 2:
        raise UserError("--lpips takes two files: [alexnet-owt-7be5be79.pth, alex.pth]")
    return metrics.LPIPS(*(state_of(checkpoint.load_tensors(file), str(file)) for file in files))


def score_folder(
    frames: tuple[list[Path], list[Path]],
    protocol: str,
    source: FlowSource | None = None,
    distance: metrics.LPIPS | None = None,
) -> dict[str, Any]:
    """One clip's fidelity, and its warping error along the flow of the true frames. Reads two frames at a time.

    Raises UserError where two frames differ in size.
    """
    source = source or DIS()
    scores, errors, distances, previous = [], [], [], None
    for ours, theirs in zip(*frames, strict=True):
        restored, target = read_bgr(ours), read_bgr(theirs)
        if restored.shape != target.shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (restored, target)]
            raise UserError(f"{ours} is {sizes[0]} and {theirs} {sizes[1]}: restore at native size (no --short-side)")
        scores.append(image_scores([(restored, target)], protocol))
        clip = [
            torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float() / 127.5 - 1
            for image in (restored, target)
        ]
        if previous is not None:
            flows = clip_flows(source, torch.stack((previous[1], clip[1]))[None])
            errors.append(metrics.warping_error(torch.stack((previous[0], clip[0])), flows[1][0], flows[0][0]))
        if distance is not None:
            distances.append(float(distance(clip[0][None], clip[1][None])))
        previous = clip
    means = {name: float(np.mean([score[name] for score in scores])) for name in ("psnr", "ssim")}
    return {
        "frames": len(scores),
        **means,
        "lpips": float(np.mean(distances)) if distances else "not available",
        "warping error": 1e3 * float(np.mean(errors)) if errors else None,
    }
