"""What ``pipeline`` leaves in its folder: results.json, tables, figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rmoe import claim, figures, stages
from rmoe.data.mosaic import to_pixels
from rmoe.evaluation.experts import contingency
from rmoe.moe import diagnostics, moe_layers
from rmoe.pipelines import ROWS, Comparison
from shared_utils import files
from shared_utils.logging import table, write_table

_SHOWN = ("rmoe_d", "rmoe_i", "moe")


def write(comparison: Comparison, results: dict[str, Any], folder: Path) -> None:
    """Everything of a finished comparison."""
    files.write_json(results, folder / claim.RESULTS)
    for steps in results["plan"]["downstream_steps"]:
        write_table(claim.quality_table(results, steps), folder / f"quality_{steps}")
        if claim.row_of(results, "moe", steps):
            write_table(claim.cost_table(results, steps), folder / f"cost_{steps}")
    write_table(claim.grid_table(results), folder / "grid")
    draw(comparison, results, folder / "figures")


def printed(results: dict[str, Any]) -> str:
    """The tables as the verb prints them."""
    budgets = results["plan"]["downstream_steps"]
    parts = [table(claim.grid_table(results), "validation scores over the grid of rates (*: chosen):")]
    for steps in budgets:
        title = f"test mIoU of patches, {steps} downstream steps:"
        parts.append(table(claim.quality_table(results, steps), title))
    if claim.row_of(results, "moe", budgets[0]):
        parts.append(table(claim.cost_table(results, budgets[0]), f"cost, {budgets[0]} downstream steps:"))
    return "\n\n".join(parts)


@torch.no_grad()
def draw(comparison: Comparison, results: dict[str, Any], folder: Path) -> None:
    """The figures of ``figures.CAPTIONS``, as far as the rows for them were run."""
    plan = comparison.plan
    rules = [row for row in results["rows"] if row["world"] == "rules"]
    if rules:
        figures.cost_quality(folder / "cost_quality.png", rules)
    steps, seed = plan.downstream_steps[0], plan.seeds[0]
    rows = [row for row in _SHOWN if claim.row_of(results, row, steps)]
    if not rows:
        return
    mosaic = comparison.mosaic("rules", seed)
    images, labels, domains, _ = stages.scene_tensors(mosaic, "test", plan.held)
    shares, maps = {}, {}
    with torch.random.fork_rng(devices=[]):
        for row in rows:
            model = comparison.trained("rules", row, seed, steps)
            predicted = model(images, tuple(labels.shape[1:])).argmax(1)
            _, layer = next(moe_layers(model))
            experts = diagnostics.expert_map(layer)
            shares[ROWS[row].title] = contingency(experts[:, None], domains, layer.num_experts, mosaic.domains).numpy()
            maps[row] = (predicted, experts.reshape(labels.shape), layer.num_experts)
    figures.experts_by_domain(folder / "experts_by_domain.png", shares)
    found = {ROWS[row].title: claim.required(results, row, steps) for row in rows}
    loads, residuals = ({title: row[key] for title, row in found.items()} for key in ("load", "residual"))
    figures.load(folder / "load.png", loads, residuals)
    predicted, experts, count = maps[rows[0]]
    # Two scenes of each of the first four domains that occur.
    order = [int(i) for domain in domains.unique()[:4] for i in torch.where(domains == domain)[0][:2]]
    figures.expert_map(
        folder / "expert_map.png",
        to_pixels(images[order].permute(0, 2, 3, 1).numpy()) / np.float32(255),
        labels[order].numpy(),
        predicted[order].numpy(),
        experts[order].numpy(),
        domains[order].tolist(),
        mosaic.classes,
        count,
    )
