"""Networks on degraded clips whose truth is known, beside the input and classical baselines."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn import baselines, metrics
from old_films_rtn.baselines import Restore
from old_films_rtn.data.clips import FilmClips, ProceduralClips, find_clips
from old_films_rtn.data.degradation import Degradation, FilmWear
from old_films_rtn.data.drawn import DrawnTextures
from old_films_rtn.data.textures import TemplateTextures
from old_films_rtn.detection import restored_clip
from old_films_rtn.evaluation.parts import computed
from old_films_rtn.flow import FlowSource, clip_flows
from old_films_rtn.models.rtn import RTN
from old_films_rtn.pretrained import Restorer
from shared_utils import UserError
from shared_utils.claim import Table
from shared_utils.work import Work

log = getLogger(__name__)

DEGRADATION = Degradation(sharpen_target=False, quality=0.0, flicker=False, wear=FilmWear(flicker=0.06, grain=0.03))
"""What networks are compared on: all kinds of defects, slow flicker, grain. The default recipe trains on the same."""


def held_out(
    clips: int, frames: int, size: int, root: str | None = None, textures: str | None = None, max_speed: float = 3.0
) -> Clips:
    """Degraded clips to compare networks on, indexed by (0, index): made ones of photographs that no training sees, or the
    middles of those in ``root``; with drawn defects, or those of a folder of templates."""
    contaminants = DrawnTextures() if textures is None else TemplateTextures(textures)
    if root is None:
        return ProceduralClips("test", clips, frames, (size, size), contaminants, DEGRADATION, max_speed=max_speed)
    found = find_clips(root)
    return FilmClips(found, frames, size, contaminants, DEGRADATION, training=False, length=min(clips, len(found)))


Clips = ProceduralClips | FilmClips
COLUMNS = ("psnr", "psnr inside", "psnr outside", "ssim", "warping error")


def sample_of(dataset: Clips, index: int) -> dict[str, Any]:
    """A sample of held-out clips."""
    sample = dataset[0, index]
    assert sample is not None  # only training leaves corrupt ones out
    return sample


class Evaluation:
    """Scores of several methods over degraded clips whose truth is known.

    methods: name -> ``Restore``. detectors: name -> function of (clip, forward flow, backward flow) that gives a map
    (1, t, 1, h, w), larger where a defect is. source: where the flow comes from that they get; None: the known one.
    ``rows`` holds a row a clip and method of what has been added.
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

    def run(self, dataset: Clips, description: str, store: Work | None = None) -> None:
        """Add every clip of a data set; finished ones are kept in ``store``."""
        keys: dict[str, int] = {f"{description}/{index:05d}": index for index in range(len(dataset))}
        for name, part in computed(
            list(keys), lambda name: self.score(sample_of(dataset, keys[name])), description, store
        ):
            del name
            self.add(part)

    @torch.no_grad()
    def score(self, sample: dict[str, Any]) -> dict[str, np.ndarray]:
        """The arrays of one sample of ``data.clips``: what ``add`` takes."""
        clip, target = (sample[name][None].to(self.device) for name in ("lq", "gt"))
        true = (sample["mask"][None] > metrics.DEFECT).to(self.device)
        # Steadiness is measured along the motion of the clean clip, the same for every method.
        if "forward_flow" in sample:
            clean_flows = sample["forward_flow"][None].to(self.device), sample["backward_flow"][None].to(self.device)
        elif self.source is not None:
            clean_flows = clip_flows(self.source, target)
        else:
            raise UserError("the flow of these clips is not known: give --flow dis or raft:FILE")
        flows = clean_flows if self.source is None else clip_flows(self.source, clip)
        scores = []
        for method in self.methods.values():
            restored = method(clip, *flows)
            row = []
            for where in (torch.ones_like(true), true, ~true):
                error = float(metrics.mean_squared(restored, target, where)) if where.any() else float("nan")
                row.append(float(-10 * np.log10(max(error, 1e-10))))
            row.append(metrics.clip_scores(restored[0], target[0])["ssim"])
            row.append(metrics.warping_error(restored[0], clean_flows[1][0], clean_flows[0][0]))
            scores.append(row)
        inner = slice(1, -1) if clip.shape[1] > 2 else slice(None)
        maps = [detector(clip, *flows)[:, inner].float().cpu().numpy().ravel() for detector in self.detectors.values()]
        return {
            "clip": np.asarray(sample["key"]),
            "scores": np.asarray(scores),
            "truth": true[:, inner].cpu().numpy().ravel(),
            "maps": np.stack(maps) if maps else np.zeros((0, 0), np.float32),
        }

    def add(self, part: Mapping[str, np.ndarray]) -> None:
        """Add a clip's arrays of ``score``."""
        for name, scores in zip(self.methods, part["scores"].tolist(), strict=True):
            self.rows.append({"clip": str(part["clip"]), "method": name, **dict(zip(COLUMNS, scores, strict=True))})
        self._truth.append(part["truth"])
        for name, scores in zip(self.detectors, part["maps"], strict=True):
            self._scores[name].append(scores)

    def summary(self) -> list[dict[str, Any]]:
        """A row a method: means over the clips. ``warping error`` in thousandths."""
        table = []
        for name in self.methods:
            own = [row for row in self.rows if row["method"] == name]
            means = {key: float(np.nanmean([row[key] for row in own])) for key in COLUMNS}
            means["warping error"] *= 1e3
            table.append({"method": name, **means})
        return table

    def is_undecided(self, name: str) -> bool:
        """Whether a map is near 0.5 everywhere, as the mask of a network is that does not find defects."""
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
    """A network as a method and as detectors that share one pass over a clip.

    source: of the flow after defects were filled in (see ``detection.restored_clip``).
    """

    def __init__(self, rtn: RTN, source: FlowSource | None = None) -> None:
        self.rtn, self.source = rtn, source
        self._clip: Tensor | None = None
        self._result: Any = None

    def _pass(self, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self._clip is not clip:
            self._clip = clip
            self._result = restored_clip(self.rtn, clip, (forward_flow, backward_flow), self.source)
        return self._result

    def __call__(self, clip: Tensor, forward_flow: Tensor, backward_flow: Tensor) -> Tensor:
        """The restored clip."""
        return self._pass(clip, forward_flow, backward_flow)[0]

    def masks(self) -> dict[str, Restore]:
        """The maps of the gates: a direction each, and the larger of both; and the defect map, which is what the detector
        says, or the mean change of a pixel and its neighbours."""
        return {
            "mask": lambda *inputs: torch.maximum(*self._pass(*inputs)[1:3]),
            "mask, forward": lambda *inputs: self._pass(*inputs)[1],
            "mask, backward": lambda *inputs: self._pass(*inputs)[2],
            "defect map": lambda *inputs: self._pass(*inputs)[3],
        }


def evaluate_network(
    restorer: Restorer,
    single: Restorer | None,
    dataset: Clips,
    source: FlowSource | None,
    *,
    flow: str,
    device: torch.device | str = "cpu",
    store: Work | None = None,
) -> tuple[list[Table], list[dict[str, Any]]]:
    """Compare a network with the input, the temporal median and ``single`` frames, and its mask with a detector.

    Args:
        restorer: the network.
        single: one that was trained on single frames, to compare with.
        dataset: degraded clips, of ``held_out``.
        source: of the flow; None: the known one.
        flow: its name, for the title.
        device: where to compute.
        store: keeps finished clips.

    Returns:
        The tables of fidelity and of the maps, and a row a clip and method.
    """
    rtn = restorer.rtn.to(device)
    methods: dict[str, Restore] = {
        "input": lambda clip, forward_flow, backward_flow: clip,
        "temporal median": baselines.temporal_median,
    }
    if single is not None:
        methods["single frames"] = baselines.single_frames(single.rtn.to(device))
    methods["recurrent"] = recurrent = Recurrent(rtn, source)
    compared = Evaluation(methods, {**recurrent.masks(), "residual": baselines.residual_map}, source, device)
    compared.run(dataset, "clips", store)
    if compared.is_undecided("mask"):
        log.warning("the mask is near 0.5 everywhere: this network does not find defects")
    title = f"{len(dataset)} clips of {dataset.num_frames} frames, flow: {flow}; 8-bit SSIM, window 11;"
    title += " warping error in thousandths"
    tables = [
        Table(title, compared.summary()),
        Table("maps against the true defects, all interior pixels", compared.masks()),
    ]
    return tables, compared.rows
