"""What the commands do, on victims and attacks that are already made: compare, query, transfer, defend."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_utils import UserError, checkpoint, distributed
from shared_utils import logging as reporting
from si_adv import figures, report
from si_adv.attacks import ATTACKS, Attack, attack_options, build_attack
from si_adv.attacks.gradient import FGM, GradientAttack
from si_adv.comparison import Clouds, Parts, attack_batch, batches, load_clouds, predictions
from si_adv.data.files import write_npz, write_ply, write_text
from si_adv.defences import SRS, Defended, ExpectationOverTransformation, build_defence
from si_adv.metrics import success_within, wilson_interval
from si_adv.victim import Victim, load_victim

log = logging.getLogger(__name__)

DEFAULT_RUN = Path("runs") / "default"
Builder = Callable[[nn.Module, int], Attack]
"""Makes an attack on a victim with a seed."""


# What the arguments of the commands mean -----------------------------------------------------------------------------


def split_names(text: str) -> list[str]:
    """``"a, b"`` -> ``["a", "b"]``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_seeds(text: str) -> list[int]:
    """``"0,1,2"`` -> ``[0, 1, 2]``."""
    try:
        return [int(part) for part in split_names(text)]
    except ValueError:
        raise UserError(f"seeds are whole numbers with commas between, got {text}: for example 0,1,2") from None


def open_victims(text: str | None, device: torch.device) -> dict[str, Victim]:
    """Victims by name from ``"path,name=path"``.

    A path is whatever ``load_victim`` takes, or a run folder of train.py (the best checkpoint of its newest version).
    Without a name a victim is called after its path. None: what train.py trained here last under the name "default",
    else the victim that travels with the package.
    """
    if text is None:
        trained = _best_checkpoint(DEFAULT_RUN)
        log.info("no victim given: taking %s", trained or "the PointNet that travels with the package")
        return {"pointnet_procedural": load_victim(trained).to(device)}
    victims: dict[str, Victim] = {}
    for part in split_names(text):
        name, path = part.split("=", 1) if "=" in part else (Path(part.rstrip("/")).stem, part)
        if name in victims:
            raise UserError(f"two victims are called {name}: name them, as in a={path}")
        folder = Path(path)
        if folder.is_dir() and not (folder / "config.json").is_file():
            best = _best_checkpoint(folder)
            if best is None:
                raise UserError(f"{path} holds no good checkpoint: give a run folder of train.py or an exported victim")
            path = best
        victims[name] = load_victim(path).to(device)
    if not victims:
        raise UserError("no victim given: name a checkpoint, or several with commas between")
    return victims


def _best_checkpoint(folder: Path) -> Path | None:
    """The best checkpoint of a run folder (``runs/name`` or ``runs/name/version_N``), of its newest version."""
    found = [*folder.glob("checkpoints/best-*.ckpt"), *folder.glob("version_*/checkpoints/best-*.ckpt")]
    return checkpoint.newest_good(found)


def attack_builder(name: str, shared: dict[str, Any], own: dict[str, Any]) -> Builder:
    """A maker of the attack ``name``.

    shared: the common budget (eps, step_size, steps), given to the gradient attacks, as far as they have it; the
    optimisation attacks keep the budgets of their papers. own: options of this attack alone, which win.
    """
    known, kind = attack_options(name), ATTACKS[name]
    taken = {"targeted", "confidence", "step", "max_queries", "lookahead", "surrogate"}
    if issubclass(kind, GradientAttack):
        # One step of FGM knows no box and no number of steps.
        taken |= {"step_size"} if issubclass(kind, FGM) else {"eps", "step_size", "steps"}
    options = {key: value for key, value in shared.items() if key in taken and key in known and value is not None}
    options |= own
    return lambda model, seed: build_attack(name, model, seed=seed, **options)


def sweep_builders(name: str, sweep: str, shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Builder]:
    """One maker a value of ``"eps:0.02,0.04"``, labelled ``si_ifgm eps=0.02``."""
    argument, _, values = sweep.partition(":")
    if argument not in ("eps", "step_size", "steps") or not values:
        raise UserError(f"--sweep is eps:, step_size: or steps: and values with commas between, got {sweep}")
    made = {}
    for value in split_names(values):
        number = int(value) if argument == "steps" else float(value)
        made[f"{name} {argument}={value}"] = attack_builder(name, shared | {argument: number}, own)
    return made


def defended_by(
    name: str, punet: str | None, draws: int, device: torch.device
) -> Callable[[nn.Module, int], nn.Module]:
    """Puts a defence in front of a victim; a seed decides what a random one draws.

    draws: of the defence, averaged in every forward pass.
    """
    fixed = build_defence(name, **({"weights": punet} if punet and name == "dupnet" else {})).to(device)

    def through(victim: nn.Module, seed: int) -> nn.Module:
        defence = build_defence(name, seed=seed).to(device) if isinstance(fixed, SRS) else fixed
        model = Defended(victim, defence)
        return ExpectationOverTransformation(model, draws) if draws > 1 else model

    return through


def target_labels(text: str | None, clouds: Clouds, num_classes: int) -> Tensor:
    """Labels for the attack: the true ones (None), ``next`` class of each, or one class by name or number."""
    if text is None:
        return clouds.labels
    if text == "next":
        return (clouds.labels + 1) % num_classes
    if text in clouds.class_names:
        return torch.full_like(clouds.labels, clouds.class_names.index(text))
    if text.isdigit() and int(text) < num_classes:
        return torch.full_like(clouds.labels, int(text))
    raise UserError(
        f"unknown target class {text}: next, a number below {num_classes}, or one of {', '.join(clouds.class_names)}"
    )


def check_labels(clouds: Clouds, victim: Victim, name: str) -> None:
    """Raise UserError where the clouds have classes that the victim does not know."""
    highest = int(clouds.labels.max())
    if highest >= victim.num_classes:
        raise UserError(
            f"{name} knows {victim.num_classes} classes, the data has a cloud of class {highest} "
            f"({clouds.class_names[highest]}): give a checkpoint trained on these classes"
        )


def digest(model: nn.Module) -> str:
    """A short name for a model's weights: the same weights, the same name."""
    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(name.encode() + tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()[:16]


# The jobs ------------------------------------------------------------------------------------------------------------


def run_attacks(
    folder: Path,
    victims: dict[str, Victim],
    attacks: dict[str, Builder],
    seeds: Sequence[int],
    open_clouds: Callable[[int], Clouds],
    *,
    job: dict[str, Any],
    resume: bool,
    target: str | None = None,
    through: Callable[[nn.Module, int], nn.Module] | None = None,
    batch_size: int = 32,
    device: torch.device | None = None,
) -> tuple[list[dict[str, Any]], dict[tuple[str, str, int], dict[str, np.ndarray]]]:
    """Every attack on every victim for every seed: rows of a table, and the per-cloud arrays behind them.

    attacks: label -> maker. open_clouds: the clouds of a seed. job: what else decides the result, for resuming.
    target: see ``target_labels``. through: puts a defence in front of a victim (the attack is then adaptive).
    Under ``torchrun`` the batches are shared; all processes return the same.
    """
    device = device or torch.device("cpu")
    clouds = {seed: open_clouds(seed) for seed in seeds}
    for name, victim in victims.items():
        if victim.with_normals:
            raise UserError(f"{name} takes normals, and attacks move points alone: give a victim of coordinates")
        for some in clouds.values():
            check_labels(some, victim, name)
    job = job | {"victims": {name: digest(victim) for name, victim in victims.items()}, "attacks": list(attacks)}
    parts = Parts(folder, job | {"seeds": list(seeds), "target": target, "batch_size": batch_size}, resume)
    units: dict[str, tuple[str, str, int, slice]] = {}
    for name in victims:
        for label in attacks:
            for seed in seeds:
                for rows in batches(len(clouds[seed]), batch_size):
                    units[f"{name}/{label.replace(' ', '-')}/{seed}-{rows.start:06d}"] = (name, label, seed, rows)

    def compute(unit: str) -> dict[str, Any]:
        name, label, seed, rows = units[unit]
        # A random defence draws by the seed and the place of the batch, so that a resumed run repeats itself.
        model = victims[name] if through is None else through(victims[name], seed * 1_000_003 + rows.start)
        labels = target_labels(target, clouds[seed], victims[name].num_classes)
        return attack_batch(attacks[label](model, seed), clouds[seed], rows, labels, device)

    parts.finish(list(units), compute, "attacking")
    arrays: dict[tuple[str, str, int], dict[str, np.ndarray]] = {}
    for key in dict.fromkeys(unit[:3] for unit in units.values()):
        arrays[key] = parts.read(unit for unit, parameters in units.items() if parameters[:3] == key)
    rows = [
        {"victim": name, "attack": label, "seed": seed} | report.summarise(arrays[name, label, seed])
        for name, label, seed in arrays
    ]
    return rows, arrays


def write_attack_report(
    folder: Path,
    rows: list[dict[str, Any]],
    arrays: dict[tuple[str, str, int], dict[str, np.ndarray]],
    class_names: Sequence[str],
    formats: Sequence[str] = ("npz",),
    sweep: str | None = None,
) -> list[dict[str, str]]:
    """Tables, clouds and figures of attacks into ``folder``; the figures' names and captions."""
    report.write_tables(folder, "table", rows)
    for (victim, label, seed), values in arrays.items():
        write_clouds(folder / "clouds" / f"{victim}-{label.replace(' ', '-')}-{seed}", values, formats)
    made = []
    if len({row["attack"] for row in rows}) > 1 and all("surface" in row for row in rows):
        figures.success_against_surface(folder / "success_against_surface.png", rows)
        made.append(
            {"file": "success_against_surface.png", "caption": "Success against out-of-surface motion, a mark a run"}
        )
    if sweep:
        figures.curves(folder / "sweep.png", _sweep_lines(rows, sweep), sweep.partition(":")[0], log=True)
        made.append({"file": "sweep.png", "caption": f"Success over {sweep.partition(':')[0]}"})
    else:
        figures.curves(folder / "success_over_steps.png", _step_lines(arrays), "steps")
        made.append(
            {"file": "success_over_steps.png", "caption": "Share of attacked clouds fooled after so many steps"}
        )
    examples = _examples(arrays, class_names)
    if examples:
        figures.displacement(folder / "displacement.png", examples)
        made.append({"file": "displacement.png", "caption": "Clean clouds and what each attack made of them"})
    return made


def write_clouds(stem: Path, arrays: dict[str, np.ndarray], formats: Sequence[str]) -> None:
    """Attacked clouds as one npz, or as a folder of ply or text files, coloured by displacement."""
    unknown = set(formats) - {"npz", "ply", "txt"}
    if unknown:
        raise UserError(f"unknown format {', '.join(sorted(unknown))}: known are npz, ply, txt")
    if "npz" in formats:
        write_npz(stem.with_name(stem.name + ".npz"), **arrays)
    for index, name in enumerate(arrays["name"]):
        adv, clean = arrays["adv"][index], arrays["clean"][index]
        same = adv.shape == clean.shape
        length = np.linalg.norm(adv - clean, axis=1) if same else np.zeros(len(adv))
        target = stem / str(name).replace("/", "_")
        if "ply" in formats:
            write_ply(f"{target}.ply", adv, arrays["normals"][index] if same else None, length)
        if "txt" in formats:
            share = length / max(float(length.max()), 1e-12)
            write_text(f"{target}.txt", adv, np.stack([share, 0.2 + 0 * share, 1 - share], axis=1))


def _sweep_lines(rows: Sequence[dict[str, Any]], sweep: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in report.over_seeds(rows, ["attack"]):
        name, _, setting = row["attack"].partition(" ")
        lines.setdefault(name, []).append((float(setting.partition("=")[2]), row["asr"]))
    return {name: tuple(np.array(sorted(points)).T) for name, points in lines.items()}


def _step_lines(arrays: dict[tuple[str, str, int], dict[str, np.ndarray]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    lines = {}
    for label in dict.fromkeys(key[1] for key in arrays):
        chosen = [values for key, values in arrays.items() if key[1] == label]
        attacked = np.concatenate([~values["initial_success"] for values in chosen])
        success = np.concatenate([values["success"] for values in chosen])[attacked]
        steps = np.concatenate([values["steps"] for values in chosen])[attacked]
        if not len(success):  # everything was wrong before the attack
            continue
        budgets = np.arange(0, max(2, int(steps.max(initial=1)) + 1))
        lines[label] = (budgets, np.array([np.mean(success & (steps <= budget)) for budget in budgets]))
    return lines


def _examples(
    arrays: dict[tuple[str, str, int], dict[str, np.ndarray]], class_names: Sequence[str], count: int = 3, most: int = 3
) -> list[dict[str, Any]]:
    """The first clouds, of classes apart, that every attack of the first victim and seed has seen."""
    victim, _, seed = next(iter(arrays))
    chosen = {label: values for (name, label, number), values in arrays.items() if (name, number) == (victim, seed)}
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
        examples.append({"clean": reference["clean"][row], "title": title, "attacks": attacks})
    return examples


def transfer_table(
    arrays: dict[tuple[str, str, int], dict[str, np.ndarray]],
    targets: dict[str, Victim],
    batch_size: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    """How often clouds made on each surrogate fool each target, among those that the target classifies correctly."""
    rows = []
    for (surrogate, label, seed), values in arrays.items():
        truth = torch.from_numpy(values["label"])
        for name, target in targets.items():
            clean = predictions(target, torch.from_numpy(values["clean"]), batch_size, device)
            adv = predictions(target, torch.from_numpy(values["adv"]), batch_size, device)
            correct = clean == truth
            fooled, total = int((correct & (adv != truth)).sum()), int(correct.sum())
            low, high = wilson_interval(fooled, total)
            rows.append(
                {
                    "attack": label,
                    "seed": seed,
                    "surrogate": surrogate,
                    "target": name,
                    "transfer": fooled / total if total else float("nan"),
                    "low": low,
                    "high": high,
                    "clouds": total,
                }
            )
    return rows


def defence_table(
    clouds: dict[str, np.ndarray], victim: Victim, defences: dict[str, nn.Module], batch_size: int, device: torch.device
) -> list[dict[str, Any]]:
    """Accuracy on clean and on attacked clouds through every defence, and the success rate that is left."""
    truth = torch.from_numpy(np.asarray(clouds["label"])).long()
    rows = []
    for name, model in {"none": victim, **defences}.items():
        clean = predictions(model, torch.from_numpy(clouds["clean"]), batch_size, device)
        adv = predictions(model, torch.from_numpy(clouds["adv"]), batch_size, device)
        correct = clean == truth
        fooled, total = int((correct & (adv != truth)).sum()), int(correct.sum())
        low, high = wilson_interval(fooled, total)
        rows.append(
            {
                "defence": name,
                "clean accuracy": float(correct.float().mean()),
                "accuracy under attack": float((adv == truth).float().mean()),
                "asr": fooled / total if total else float("nan"),
                "asr_low": low,
                "asr_high": high,
                "clouds": len(truth),
            }
        )
    return rows


def clouds_of(
    data: str | None,
    split: str,
    num_points: int,
    limit: int | None,
    allow_upsample: bool,
    estimated_normals: bool = False,
) -> Callable[[int], Clouds]:
    """The clouds of a seed: the seed draws which, where there is a limit."""
    return lambda seed: load_clouds(data, split, num_points, limit, seed, allow_upsample, estimated_normals)


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a run's metrics.csv."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def result_folder(out: str | None, kind: str) -> Path:
    """``out``, or a new ``runs/<kind>/version_N``, the same on every process."""
    if out is not None:
        return Path(out)
    return distributed.broadcast(reporting.run_folder(kind) if distributed.rank() == 0 else None)


def only(clouds: Clouds, rows: Tensor) -> Clouds:
    """Some of the clouds."""
    index = rows.tolist()
    return replace(
        clouds,
        points=clouds.points[rows],
        normals=clouds.normals[rows],
        labels=clouds.labels[rows],
        names=[clouds.names[row] for row in index],
        ids=clouds.ids[rows],
    )


def victim_input(clouds: Clouds, victim: Victim) -> Tensor:
    """What a victim looks at: points (M, N, 3), with the normals behind them (M, N, 6) where it takes normals."""
    return torch.cat([clouds.points, clouds.normals], 2) if victim.with_normals else clouds.points


def class_number(text: str, class_names: Sequence[str]) -> Tensor:
    """A class by name or number, as labels (1,)."""
    if text in class_names:
        return torch.tensor([list(class_names).index(text)])
    if text.isdigit() and int(text) < len(class_names):
        return torch.tensor([int(text)])
    raise UserError(f"unknown class {text}: a number below {len(class_names)}, or one of {', '.join(class_names)}")


def queries_by_attack(arrays: dict[tuple[str, str, int], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Queries of every attacked cloud, over all victims and seeds, by attack."""
    spent: dict[str, list[np.ndarray]] = {}
    for (_, label, _), values in arrays.items():
        spent.setdefault(label, []).append(values["queries"][~values["initial_success"]])
    return {label: np.concatenate(parts) for label, parts in spent.items()}


def query_lines(arrays: dict[tuple[str, str, int], dict[str, np.ndarray]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Success rate over the budget of queries, by attack, over all victims and seeds."""
    lines = {}
    for label, spent in queries_by_attack(arrays).items():
        success = np.concatenate(
            [values["success"][~values["initial_success"]] for key, values in arrays.items() if key[1] == label]
        )
        budgets = np.unique(np.geomspace(1, max(2, spent.max(initial=2)), 60).astype(int))
        rates = success_within(torch.from_numpy(success), torch.from_numpy(spent), torch.from_numpy(budgets))
        lines[label] = (budgets, rates.numpy())
    return lines
