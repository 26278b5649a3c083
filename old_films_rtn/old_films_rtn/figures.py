"""What people would rather look at than read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from old_films_rtn import evaluation
from old_films_rtn.flow import DIS, clip_flows
from old_films_rtn.models.rtn import RTN
from shared_utils import checkpoint


@torch.no_grad()
def comparison(path: str | Path, sample: dict[str, Any], rtn: RTN, single: RTN | None = None) -> None:
    """Frames of one sample as rows: input, temporal median, single frames, ours, target, mask, true defects."""
    clip = sample["lq"][None]
    flows = clip_flows(DIS(), clip)
    restored, forward_mask, backward_mask = rtn(clip, *flows)
    rows = {"input": clip, "temporal median": evaluation.temporal_median(clip, *flows)}
    if single is not None:
        rows["same network,\nsingle frames"] = evaluation.single_frames(single)(clip, *flows)
    rows["recurrent"] = restored
    rows["truth"] = sample["gt"][None]
    maps = {
        "mask, nobody\nsupervised": torch.maximum(forward_mask, backward_mask),
        "true defects": sample["mask"][None],
    }
    pictures = {name: _grey(value[0]) for name, value in rows.items()} | {
        name: value[0, :, 0].clamp(0, 1).numpy() for name, value in maps.items()
    }
    _write_rows(path, pictures)


def _grey(clip: Tensor) -> np.ndarray:
    return ((clip[:, 0].clamp(-1, 1) + 1) / 2).numpy()


def _write_rows(path: str | Path, pictures: dict[str, np.ndarray]) -> None:
    """A grid: a row a name, a column a frame."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = len(next(iter(pictures.values())))
    figure, axes = pyplot.subplots(
        len(pictures), count, figsize=(1.25 * count + 1.1, 1.25 * len(pictures)), squeeze=False, layout="constrained"
    )
    for row, (name, frames) in zip(axes, pictures.items(), strict=True):
        for axis, frame in zip(row, frames, strict=True):
            axis.imshow(frame, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=72)
    pyplot.close(figure)
    with checkpoint.replacing(path) as temporary:
        # Everything is grey, and three equal channels would be three times as large.
        Image.open(drawn).convert("L").save(temporary, format="PNG", optimize=True)
