"""The figures of a finished comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from luperson_nl import figures
from luperson_nl.comparison import training
from luperson_nl.comparison.grid import Comparison
from luperson_nl.comparison.plan import ROWS
from luperson_nl.data.label_truth import LabelTruth
from luperson_nl.embedding_map import tsne

_CURVES = ("pnl", "supervised", "moco", "random", "histogram", "clean")
_MAPS = ("supervised", "pnl")
_OVER_NOISE = {
    "pnl": ("pnl_clean", "pnl", "pnl_heavy"),
    "supervised": ("supervised_clean", "supervised", "supervised_heavy"),
}
_PERSONS, _CLIPS = 10, 6


def draw(comparison: Comparison, results: dict[str, Any], folder: Path) -> None:
    """Write the figures of ``claim.CAPTIONS`` into a folder, as far as the rows for them were run."""
    found = {row["row"]: row for row in results["rows"]}
    curves = {ROWS[row].title: np.array(found[row]["cmc"]) for row in _CURVES if row in found}
    if curves:
        figures.cmc(folder / "cmc.png", curves)
    if all(row in found for rows in _OVER_NOISE.values() for row in rows):
        shares = [1 - float(np.mean(level["canonical"])) for level in results["noise"]]
        scores = {ROWS[name].title: np.array([found[row]["mAP"] for row in rows]) for name, rows in _OVER_NOISE.items()}
        figures.over_noise(folder / "noise.png", shares, scores)
    seed = comparison.plan.seeds[0]
    _draw_maps(comparison, [row for row in _MAPS if row in found], seed, folder)
    crops = comparison.crops(seed)
    truth = LabelTruth(crops.labels, crops.true)
    clips = truth.noisiest(crops.labels, crops.clips, _CLIPS)
    figures.tracks(
        folder / "tracks.png",
        crops.images.__getitem__,
        {f"clip {clip}": np.flatnonzero(crops.clips == clip) for clip in clips},
        lambda row: f"id {crops.labels[row]}",
        ~truth.right_person(crops.labels),
        ~truth.canonical(crops.labels),
    )
    if "pnl" in found:
        corrected = comparison.part("pnl", seed)["corrected"]
        read = crops.images.__getitem__
        figures.corrections(folder / "corrections.png", read, crops.labels, corrected, truth.owner, crops.true)


def _draw_maps(comparison: Comparison, rows: list[str], seed: int, folder: Path) -> None:
    if not rows:
        return
    _, gallery = comparison.split(seed, "test")
    shown = gallery[np.flatnonzero(gallery.true < _PERSONS)]
    places = {}
    for row in rows:
        part = comparison.part(row, seed)
        features = training.embed(
            comparison.trunk(row, seed), shown.images, part["mean"].tolist(), part["std"].tolist()
        )
        places[ROWS[row].title] = tsne(features)
    figures.maps(folder / "tsne.png", places, shown.true, shown.cameras)
