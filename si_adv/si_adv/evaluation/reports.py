"""What an experiment leaves in its folder for people: tables, attacked clouds and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared_utils import UserError, files, lists, logging
from si_adv import figures
from si_adv.data.sample import FRAME
from si_adv.data.writers import write_npz, write_ply, write_text
from si_adv.evaluation import paired, tables
from si_adv.evaluation.clouds import Clouds
from si_adv.evaluation.experiment import Runs
from si_adv.metrics import success_within

FORMATS = ("npz", "ply", "txt")
#: Every cloud of every run, by columns (``paired.per_cloud``), and the attacks compared cloud by cloud.
PER_CLOUD, PAIRED = "per_cloud.json", "paired"
#: The figures of an attack, and what they show.
CAPTIONS = {
    "success_against_surface.png": "Success against out-of-surface motion, a mark a run",
    "sweep.png": "Success over the budget that is swept",
    "success_over_steps.png": "Share of attacked clouds fooled after so many steps",
    "displacement.png": "Clean clouds and what each attack made of them, by distance from the surface where it is known",
}


def chosen_formats(text: str) -> list[str]:
    """Formats of attacked clouds from ``"npz,ply"``; UserError for an unknown one."""
    unknown = sorted(set(lists.names(text)) - set(FORMATS))
    if unknown:
        raise UserError(f"unknown format {', '.join(unknown)}: known are {', '.join(FORMATS)}")
    return lists.names(text)


def write_attacks(
    folder: Path,
    rows: list[dict[str, Any]],
    runs: Runs,
    class_names: Sequence[str],
    formats: Sequence[str] = ("npz",),
    sweep: str | None = None,
    clouds: Mapping[int, Clouds] | None = None,
) -> None:
    """Tables, clouds and the figures of ``CAPTIONS``, those that the attacks give.

    ``clouds``: those of every seed, whose surfaces are drawn where they are known.
    """
    tables.write(folder, rows)
    columns = paired.per_cloud(runs)
    files.write_json(columns, folder / PER_CLOUD)
    if compared := paired.paired_table(columns):
        logging.write_table(compared, folder / PAIRED)
    write_clouds(folder, runs, class_names, formats)
    if len({row["attack"] for row in rows}) > 1 and all("surface" in row for row in rows):
        figures.success_against_surface(folder / "success_against_surface.png", rows)
    if sweep:
        figures.curves(folder / "sweep.png", _sweep_lines(rows), sweep.partition(":")[0], log=True)
    else:
        figures.curves(folder / "success_over_steps.png", _step_lines(runs), "steps")
    if examples := _examples(runs, class_names, clouds or {}):
        figures.displacement(folder / "displacement.png", examples)


def write_queries(
    folder: Path,
    rows: list[dict[str, Any]],
    runs: Runs,
    class_names: Sequence[str],
    formats: Sequence[str] = ("npz",),
) -> None:
    """Tables, clouds, success over queries and their histogram."""
    tables.write(folder, rows)
    write_clouds(folder, runs, class_names, formats)
    figures.curves(folder / "success_over_queries.png", query_lines(runs), "queries", log=True)
    spent = queries_by_attack(runs)
    if any(map(len, spent.values())):
        figures.histogram(folder / "queries.png", spent, "queries of a cloud")


def write_transfer(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Tables, and a matrix of surrogates against targets an attack, means over seeds."""
    tables.write(folder, rows)
    means = {
        (row["attack"], row["surrogate"], row["target"]): row["transfer"]
        for row in tables.over_seeds(rows, ["attack", "surrogate", "target"])
    }
    names, sources, targets = (list(dict.fromkeys(place)) for place in zip(*means, strict=True))
    for name in names:
        values = np.array([[means[name, source, target] for target in targets] for source in sources])
        title = f"{name}: share of correct clouds fooled"
        figures.matrix(folder / f"matrix_{name}.png", values, sources, targets, title)


def write_clouds(folder: Path, runs: Runs, class_names: Sequence[str], formats: Sequence[str]) -> None:
    """Attacked clouds into ``folder``/clouds: an npz a run, or a folder of ply or text files, coloured by displacement.

    All of them say that they are in the frame that the victim saw (``data.sample.FRAME``).
    """
    for (victim, label, seed), arrays in runs.items():
        stem = folder / "clouds" / f"{victim}-{label.replace(' ', '-')}-{seed}"
        if "npz" in formats:
            facts = {"class_names": np.asarray(class_names), "frame": FRAME}
            write_npz(stem.with_name(stem.name + ".npz"), **arrays, **facts)
        if set(formats) - {"npz"}:
            _write_single_clouds(stem, arrays, formats)


def _write_single_clouds(stem: Path, arrays: dict[str, np.ndarray], formats: Sequence[str]) -> None:
    for index, name in enumerate(arrays["name"]):
        adv, clean = arrays["adv"][index], arrays["clean"][index]
        same = adv.shape == clean.shape
        length = np.linalg.norm(adv - clean, axis=1) if same else np.zeros(len(adv))
        target = stem / str(name).replace("/", "_")
        if "ply" in formats:
            write_ply(f"{target}.ply", adv, arrays["normals"][index] if same else None, length, framed=True)
        if "txt" in formats:
            share = length / max(float(length.max()), 1e-12)
            write_text(f"{target}.txt", adv, np.stack([share, 0.2 + 0 * share, 1 - share], axis=1), framed=True)


def _sweep_lines(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in tables.over_seeds(rows, ["attack"]):
        name, _, setting = row["attack"].partition(" ")
        lines.setdefault(name, []).append((float(setting.partition("=")[2]), row["asr"]))
    return {name: tuple(np.array(sorted(points)).T) for name, points in lines.items()}


def _step_lines(runs: Runs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    lines = {}
    for label in dict.fromkeys(key[1] for key in runs):
        chosen = [values for key, values in runs.items() if key[1] == label]
        attacked = np.concatenate([~values["initial_success"] for values in chosen])
        success = np.concatenate([values["success"] for values in chosen])[attacked]
        steps = np.concatenate([values["steps"] for values in chosen])[attacked]
        if not len(success):  # everything was wrong before the attack
            continue
        budgets = np.arange(0, max(2, int(steps.max(initial=1)) + 1))
        lines[label] = (budgets, np.array([np.mean(success & (steps <= budget)) for budget in budgets]))
    return lines


def _examples(
    runs: Runs, class_names: Sequence[str], clouds: Mapping[int, Clouds], count: int = 3, most: int = 3
) -> list[dict[str, Any]]:
    """The first clouds, of classes apart, that every attack of the first victim and seed has seen."""
    victim, _, seed = next(iter(runs))
    chosen = {label: values for (name, label, number), values in runs.items() if (name, number) == (victim, seed)}
    chosen = {label: values for label, values in chosen.items() if values["adv"].shape == values["clean"].shape}
    if not chosen:
        return []
    chosen = dict(list(chosen.items())[:most])
    reference = next(iter(chosen.values()))
    rows, seen = [], set()
    for row in np.flatnonzero(~reference["initial_success"] & reference["success"]):
        if int(reference["label"][row]) not in seen:
            rows.append(row)
            seen.add(int(reference["label"][row]))
    examples = []
    for row in rows[:count]:
        attacks = {
            label: (values["adv"][row], f"{class_names[int(values['prediction'][row])]}")
            for label, values in chosen.items()
        }
        title = f"clean: {class_names[int(reference['label'][row])]}"
        surfaces = clouds[seed].surfaces if seed in clouds else None
        surface = None if surfaces is None else surfaces[row]
        examples.append({"clean": reference["clean"][row], "title": title, "attacks": attacks, "surface": surface})
    return examples


def queries_by_attack(runs: Runs) -> dict[str, np.ndarray]:
    """Queries of every attacked cloud, over all victims and seeds, by attack."""
    spent: dict[str, list[np.ndarray]] = {}
    for (_, label, _), values in runs.items():
        spent.setdefault(label, []).append(values["queries"][~values["initial_success"]])
    return {label: np.concatenate(parts) for label, parts in spent.items()}


def query_lines(runs: Runs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Success rate over the budget of queries, by attack, over all victims and seeds."""
    lines = {}
    for label, spent in queries_by_attack(runs).items():
        success = np.concatenate(
            [values["success"][~values["initial_success"]] for key, values in runs.items() if key[1] == label]
        )
        budgets = np.unique(np.geomspace(1, max(2, spent.max(initial=2)), 60).astype(int))
        rates = success_within(torch.from_numpy(success), torch.from_numpy(spent), torch.from_numpy(budgets))
        lines[label] = (budgets, rates.numpy())
    return lines
