"""What people would rather look at than read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from old_films_rtn import baselines
from old_films_rtn.detection import restored_clip
from old_films_rtn.flow import DIS, clip_flows
from old_films_rtn.models.rtn import RTN
from shared_utils.logging import save_figure


@torch.no_grad()
def comparison(path: str | Path, sample: dict[str, Any], rtn: RTN, single: RTN | None = None) -> None:
    """Frames of one sample as rows: input, temporal median, single frames, ours, target, mask, true defects."""
    clip = sample["lq"][None]
    flows = clip_flows(DIS(), clip)
    restored, forward_mask, backward_mask, defects = restored_clip(rtn, clip, flows, DIS())
    rows = {"input": clip, "temporal median": baselines.temporal_median(clip, *flows)}
    if single is not None:
        rows["same network,\nsingle frames"] = baselines.single_frames(single)(clip, *flows)
    rows["recurrent"] = restored
    rows["truth"] = sample["gt"][None]
    maps = {
        **({"defect map": defects} if rtn.detector is not None else {}),
        "mask, nobody\nsupervised": torch.maximum(forward_mask, backward_mask),
        "true defects": sample["mask"][None],
    }
    pictures = {name: _grey(value[0]) for name, value in rows.items()} | {
        name: value[0, :, 0].clamp(0, 1).numpy() for name, value in maps.items()
    }
    save_figure(_grid(pictures), path)


def _grey(clip: Tensor) -> np.ndarray:
    return ((clip[:, 0].clamp(-1, 1) + 1) / 2).numpy()


def _grid(pictures: dict[str, np.ndarray]):
    """A figure: a row a name, a column a frame."""
    from matplotlib.figure import Figure

    count = len(next(iter(pictures.values())))
    figure = Figure(figsize=(1.25 * count + 1.1, 1.25 * len(pictures)), layout="constrained")
    axes = figure.subplots(len(pictures), count, squeeze=False)
    for row, (name, frames) in zip(axes, pictures.items(), strict=True):
        for axis, frame in zip(row, frames, strict=True):
            axis.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure
