"""What the experts of a model do on images: load, entropy, drops, residuals, whom they meet, and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rmoe import panels, prediction, scoring
from rmoe.data.files import read_image
from rmoe.evaluation.experts import ExpertStatistics, contingency, shared_information
from rmoe.moe import moe_layers
from rmoe.predictors import Predictor
from shared_utils import logging
from shared_utils.logging import progress

_PICTURES = 4


def find_samples(given: Predictor, data: str | None, limit: int) -> tuple[int, Callable[[int], Any]]:
    """How many images there are, and what gives (image, groups, number of groups) of each.

    Groups are the class of each pixel, or the domain of an image of the procedural default; None of plain pictures.
    """
    if data is not None and not any(Path(data).glob("*/*")) and not Path(data).is_file():
        pictures = prediction.find_images(data, limit)
        return len(pictures), lambda number: (read_image(pictures[number]), None)
    if data is not None and Path(data).is_file():
        return 1, lambda number: (read_image(Path(data)), None)
    made = scoring.scoring(given, scoring.Options(data, limit=limit))

    def sample(number: int) -> tuple[Tensor, Tensor | None]:
        if isinstance(made, scoring.SegmentationScoring):
            domains = made.domains
            return made.item(number) if domains is None else (made.image(number), domains[number : number + 1])
        return made.image(number), None

    return made.count, sample


def inspect(given: Predictor, data: str | None, out: str | Path, limit: int) -> tuple[list[dict], list[dict]]:
    """Run the model over images and write layers.csv, experts.csv, load.png, experts.png.

    Args:
        given: with experts.
        data: as for scoring, or a folder of plain pictures; None: the procedural default.
        out: folder.
        limit: images.

    Returns:
        The rows of the two tables.
    """
    out, statistics = Path(out), ExpertStatistics(given.model)
    count, sample = find_samples(given, data, limit)
    sizes = {name: layer.num_experts for name, layer in moe_layers(given.model)}
    met: dict[str, Tensor] = {}
    rows = []
    shown = set(np.linspace(0, count - 1, min(_PICTURES, count)).astype(int).tolist())
    for number in progress(range(count), "inspecting"):
        image, groups = sample(number)
        maps = given.expert_maps(image)
        statistics.update()
        for name, found in maps.items():
            if groups is not None:
                group_count = 256 if groups.ndim == 1 else len(given.class_names)
                these = groups if groups.ndim == 1 else groups[None]
                counts = contingency(found[None], these, sizes[name], group_count)
                met[name] = met[name] + counts if name in met else counts
        if number in shown:
            rows.append(
                {"image": panels.as_pixels(image)}
                | {n.removeprefix("backbone."): panels.expert_image(image, m, sizes[n]) for n, m in maps.items()}
            )
    layers, experts = statistics.rows(), statistics.expert_rows()
    for row in layers:
        # Mutual information with the class of the pixel (procedural default: the domain) over its entropy.
        row["shared with groups"] = shared_information(met[row["layer"]]) if row["layer"] in met else float("nan")
    logging.write_table(layers, out / "layers")
    logging.write_table(experts, out / "experts")
    panels.loads_and_residuals(out / "load.png", experts)
    panels.grid(out / "experts.png", rows)
    return layers, experts
