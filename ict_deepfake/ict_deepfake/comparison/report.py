"""The figures of a finished comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ict_deepfake import figures
from ict_deepfake.comparison.grid import Comparison
from ict_deepfake.comparison.plan import KINDS, ROWS, SHOWN
from ict_deepfake.comparison.scoring import References
from ict_deepfake.comparison.training import embed
from ict_deepfake.metrics import auc
from ict_deepfake.models.ict import ICT
from ict_deepfake.objective import normalised

_BARS = ("binary", "ict", "ref", "ref_absent", "claim")
_SWEEP = (("ict_r_0.3", "ict", "ict_r_0.9"), ("ref_r_0.3", "ref", "ref_r_0.9"))
_COUNTS = (1, 2, 3, 5)
_PERSONS, _SHOWN = 8, 6


def draw(comparison: Comparison, results: dict[str, Any], folder: Path) -> None:
    """Write the figures of ``claim.CAPTIONS`` into a folder, as far as the trainings for them were run."""
    found = {row["row"]: row["auc"] for row in results["rows"]}
    shown = {
        ROWS[row].title: {SHOWN.get(kind, kind): found[row][f"clean/{kind}"] for kind in KINDS}
        for row in _BARS
        if row in found
    }
    if shown:
        figures.bars(folder / "auc.png", shown)
    if all(row in found for rows in _SWEEP for row in rows):
        values = {
            f"{ROWS[rows[1]].title}, {SHOWN.get(kind, kind)}": [found[row][f"clean/{kind}"] for row in rows]
            for rows in _SWEEP
            for kind in KINDS[:2]
        }
        figures.lines(folder / "private.png", (0.3, 0.6, 0.9), values, "private share r of the inner face")
    if "ict" in comparison.plan.trainings:
        _draw_ict(comparison, folder)


def _draw_ict(comparison: Comparison, folder: Path) -> None:
    seeds = comparison.plan.seeds
    by_count: dict[str, list[list[float]]] = {
        f"ICT-Ref, {SHOWN.get(kind, kind)}": [[] for _ in _COUNTS] for kind in KINDS[:2]
    }
    for seed in seeds:
        model, people = comparison.network("ict", seed), comparison.people("ict", seed)
        assert isinstance(model, ICT)
        references, faces = References(model, people), people.test()
        genuine = embed(model, faces.genuine.images)
        fakes = {kind: embed(model, faces.fakes[kind].images) for kind in KINDS[:2]}
        for place, count in enumerate(_COUNTS):
            low = references.by_count(genuine, count)
            for kind, rows in fakes.items():
                high = references.by_count(rows, count)
                value = auc(np.concatenate([low, high]), np.repeat([0, 1], [len(low), len(high)]))
                by_count[f"ICT-Ref, {SHOWN.get(kind, kind)}"][place].append(value)
    figures.lines(folder / "references.png", _COUNTS, by_count, "reference pictures of each person")
    _draw_seed(comparison, seeds[0], folder)


def _draw_seed(comparison: Comparison, seed: int, folder: Path) -> None:
    model, people = comparison.network("ict", seed), comparison.people("ict", seed)
    assert isinstance(model, ICT)
    part, faces = comparison.work.read(comparison.part("ict", seed).name), people.test()
    scores = {SHOWN.get(kind, kind): part[f"consistency/clean/{kind}"] for kind in ("genuine", *KINDS)}
    figures.histograms(folder / "histograms.png", scores)
    persons = np.unique(faces.genuine.outer)[:_PERSONS]
    own = np.isin(faces.genuine.outer, persons)
    rows = embed(model, faces.genuine.images[own])
    figures.embeddings(folder / "embeddings.png", rows.inner.numpy(), rows.outer.numpy(), faces.genuine.outer[own])
    first = np.unique(faces.genuine.outer, return_index=True)[1][:_SHOWN]
    pictures = {"genuine": faces.genuine, **{SHOWN.get(kind, kind): faces.fakes[kind] for kind in KINDS}}
    figures.sheet(folder / "suspects.png", {kind: list(each.images[first]) for kind, each in pictures.items()})
    images = faces.genuine.images[first]
    with torch.no_grad():
        maps = model.attention(normalised(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))).numpy()
    figures.attention(folder / "attention.png", list(images), maps)
