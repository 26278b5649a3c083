"""The trainings of a plan as parts of a job on disk, the choice among them, and the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from luperson_nl import histogram
from luperson_nl.comparison import training
from luperson_nl.comparison.finetuning import Target, finetune
from luperson_nl.comparison.plan import FINETUNING_RATES, ROWS, STARTS, TRIES, Plan, Try, configured
from luperson_nl.data.label_truth import LabelTruth
from luperson_nl.data.street import Crops, Street
from luperson_nl.models.trunks import build_trunk
from luperson_nl.retrieval import Scores
from shared_utils.work import Work

Features = Callable[[np.ndarray], np.ndarray]
"""Pictures -> a feature each."""
_RANKS = 20


class Part(NamedTuple):
    """One training: its place is the name of its part. ``number``: of the try in the grid of its method."""

    kind: str
    row: str
    number: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.row}/try_{self.number}/seed_{self.seed}"


class Comparison:
    """Trains what a plan lists, in the folder of a job.

    Args:
        plan: what.
        work: of ``shared_utils.work.begin`` with the plan's description.
    """

    def __init__(self, plan: Plan, work: Work) -> None:
        self.plan, self.work = plan, work
        self.chosen: dict[str, int] = {}
        """Number of the try by method, of those of ``histogram`` too."""
        self.chosen_rate: dict[str, int] = {}
        """Number of the rate of fine-tuning by start."""

    def run(self) -> dict[str, Any]:
        """Train everything that is missing; the results as plain values (see ``results``)."""
        plan = self.plan
        methods = list(dict.fromkeys(self._tuned_as(row) for row in plan.rows if ROWS[row].method in (*TRIES, "clean")))
        tries = [Part("row", method, number, plan.tuning) for method in methods for number in range(len(TRIES[method]))]
        self._finish(tries, "the grid of every method")
        self.chosen = {method: self._best(method) for method in methods}
        if "histogram" in plan.rows:
            self.chosen["histogram"] = self._best_histogram()
        # Seed after seed, so that a street is drawn once; what the claim is about first.
        for level in dict.fromkeys(ROWS[row].noise for row in plan.rows):
            rows = [row for row in plan.rows if ROWS[row].noise == level]
            number = {row: self.chosen.get(self._tuned_as(row), 0) for row in rows}
            parts = [Part("row", row, number[row], seed) for seed in plan.seeds for row in rows]
            self._finish(parts, f"every seed, noise {level:g}")
        if plan.finetuning_epochs:
            self._finetune()
        return self.results()

    def _finetune(self) -> None:
        plan, rates = self.plan, range(len(FINETUNING_RATES))
        self._finish([Part("fine", s, n, plan.tuning) for s in self.starts for n in rates], "fine-tuning: the grid")
        for start in self.starts:
            scores = [float(self.work.read(Part("fine", start, n, plan.tuning).name)["val_mAP"]) for n in rates]
            self.chosen_rate[start] = int(np.argmax(scores))
        parts = [Part("fine", s, self.chosen_rate[s], seed) for seed in plan.seeds for s in self.starts]
        self._finish(parts, "fine-tuning")

    @property
    def starts(self) -> list[str]:
        """What is fine-tuned: the rows that the plan has, and from scratch."""
        return [start for start in STARTS if start == "scratch" or start in self.plan.rows]

    @staticmethod
    def _tuned_as(row: str) -> str:
        """The method whose grid a row takes its settings from: a bound or a variant is not tuned anew."""
        method = ROWS[row].method
        return "supervised" if method == "clean" else method

    def _best(self, method: str) -> int:
        scores = [self.work.read(part.name)["val_mAP"] for part in self._tries(method)]
        return int(np.argmax(scores))

    def _tries(self, method: str) -> list[Part]:
        return [Part("row", method, number, self.plan.tuning) for number in range(len(TRIES[method]))]

    def _best_histogram(self) -> int:
        split = self.split(self.plan.tuning, "validation")
        scores = [
            _packed("val", training.retrieve(split, lambda images, bins=bins: histogram.features(images, bins)))
            for bins in histogram.GRID
        ]
        return int(np.argmax([score["val_mAP"] for score in scores]))

    def _finish(self, parts: Iterable[Part], description: str) -> None:
        by_name = {part.name: part for part in parts}
        self.work.finish(list(by_name), lambda name: self._train(by_name[name]), description)

    # Data ------------------------------------------------------------------------------------------------------------

    def street(self, seed: int, noise: float = 1.0) -> Street:
        """The street of a seed."""
        return Street(seed=seed, persons=self.plan.persons, size=self.plan.size, noise=noise)

    def crops(self, seed: int, noise: float = 1.0) -> Crops:
        """The training crops of a seed, drawn once."""
        return _train_crops(self.street(seed, noise))

    def split(self, seed: int, name: str) -> tuple[Crops, Crops]:
        """Query and gallery of a seed's ``validation`` or ``test`` persons, drawn once."""
        return _held_crops(self.street(seed), name, self.plan.held)

    # One training ----------------------------------------------------------------------------------------------------

    def _train(self, part: Part) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            return self._fine(part) if part.kind == "fine" else self._row(part)

    def _row(self, part: Part) -> dict[str, Any]:
        row, plan = ROWS[part.row], self.plan
        crops = self.crops(part.seed, row.noise)
        if row.method == "histogram":
            bins = histogram.GRID[part.number]
            return self._scores(part.seed, lambda images: histogram.features(images, bins)) | {"seconds": 0.0}
        if row.method == "random":
            torch.manual_seed(part.seed)
            trunk, (mean, std) = build_trunk(plan.settings.trunk), training.statistics(crops.images)
            found: dict[str, Any] = {"seconds": 0.0}
        else:
            tried = TRIES[self._tuned_as(part.row)][part.number]
            settings = configured(plan.settings, tried, plan.epochs_of(part.row))
            clean = row.method == "clean"
            done = training.pretrain(
                crops, "supervised" if clean else row.method, settings, part.seed, crops.true if clean else None
            )
            trunk, mean, std = done.trunk, done.mean, done.std
            found = {
                "seconds": done.seconds,
                "losses": done.losses,
                "labels": done.labels,
                "corrected": done.corrected,
                **{f"state.{name}": value for name, value in trunk.state_dict().items()},
            }
        found |= {"mean": mean, "std": std}
        return found | self._scores(part.seed, lambda images: training.embed(trunk, images, mean, std))

    def _scores(self, seed: int, features: Features) -> dict[str, Any]:
        """On the tuning seed of validation persons, on a seed that is reported of test persons."""
        if seed == self.plan.tuning:
            return _packed("val", training.retrieve(self.split(seed, "validation"), features))
        return _packed("test", training.retrieve(self.split(seed, "test"), features))

    def _fine(self, part: Part) -> dict[str, Any]:
        plan = self.plan
        target = _target(part.seed, plan.persons, plan.held, plan.size)
        start = None if part.row == "scratch" else self.state(part.row, part.seed)
        rate = FINETUNING_RATES[part.number]
        tuned = finetune(target, start, plan.settings.trunk, plan.finetuning_epochs, rate, part.seed)
        held = part.seed == plan.tuning
        scores = _packed("val", tuned.score(target.validation)) if held else _packed("test", tuned.score(target.test))
        return scores | {"seconds": tuned.seconds, "losses": tuned.losses}

    # Reading ---------------------------------------------------------------------------------------------------------

    def part(self, row: str, seed: int) -> dict[str, np.ndarray]:
        """What the training of a row left."""
        return self.work.read(Part("row", row, self.chosen.get(self._tuned_as(row), 0), seed).name)

    def state(self, row: str, seed: int) -> dict[str, Tensor]:
        """Weights of a row's trunk."""
        found = self.part(row, seed)
        return {name[6:]: torch.from_numpy(value) for name, value in found.items() if name.startswith("state.")}

    def trunk(self, row: str, seed: int) -> nn.Module:
        """A row's trunk."""
        network = build_trunk(self.plan.settings.trunk)
        network.load_state_dict(self.state(row, seed))
        return network.eval()

    # Results ---------------------------------------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """``plan``; ``rows``, scores a seed of each; ``grid``, every try; ``finetuning``, likewise; ``noise`` of the labels."""
        plan = self.plan
        result: dict[str, Any] = {
            "plan": plan.description(),
            "rows": [self._result(row) for row in plan.rows],
            "grid": [
                {
                    "method": method,
                    **tried._asdict(),
                    "val": float(self.work.read(part.name)["val_mAP"]),
                    "chosen": number == best,
                }
                for method, best in self.chosen.items()
                if method != "histogram"
                for number, (tried, part) in enumerate(zip(TRIES[method], self._tries(method), strict=True))
            ],
            "histogram": histogram.GRID[self.chosen["histogram"]]._asdict() if "histogram" in plan.rows else None,
            "noise": self._noise(),
            "finetuning": [],
            "finetuning_grid": [],
        }
        for start in self.starts if plan.finetuning_epochs else ():
            best = self.chosen_rate[start]
            parts = [self.work.read(Part("fine", start, best, seed).name) for seed in plan.seeds]
            result["finetuning"].append({"start": start, "rate": FINETUNING_RATES[best], **_listed(parts)})
            for number, rate in enumerate(FINETUNING_RATES):
                score = float(self.work.read(Part("fine", start, number, plan.tuning).name)["val_mAP"])
                line = {"start": start, "rate": rate, "val": score, "chosen": number == best}
                result["finetuning_grid"].append(line)
        return result

    def _result(self, row: str) -> dict[str, Any]:
        spec, plan = ROWS[row], self.plan
        parts = [self.part(row, seed) for seed in plan.seeds]
        trained = spec.method in (*TRIES, "clean")
        tried: Try | None = TRIES[self._tuned_as(row)][self.chosen[self._tuned_as(row)]] if trained else None
        found: dict[str, Any] = {
            "row": row,
            "noise": spec.noise,
            "epochs": plan.epochs_of(row) if trained else 0,
            "rate": None if tried is None else tried.rate,
            "weight": None if tried is None else tried.weight,
            **_listed(parts),
        }
        if spec.method == "pnl":
            last = np.array([part["labels"][-1] for part in parts])
            found |= {
                "before": {"right person": last[:, 0].tolist(), "canonical": last[:, 1].tolist()},
                "after": {"right person": last[:, 2].tolist(), "canonical": last[:, 3].tolist()},
                "changed": last[:, 4].tolist(),
                "precision": [None if np.isnan(share) else float(share) for share in last[:, 5]],
            }
        return found

    def _noise(self) -> list[dict[str, Any]]:
        """Of every level that a row has: crops, ids, and both accuracies of the labels as they come, a value a seed."""
        levels = []
        for level in sorted({ROWS[row].noise for row in self.plan.rows}):
            drawn = [self.crops(seed, level) for seed in self.plan.seeds]
            accuracy = [LabelTruth(crops.labels, crops.true).accuracy(crops.labels) for crops in drawn]
            levels.append(
                {
                    "noise": level,
                    "crops": [len(crops) for crops in drawn],
                    "ids": [crops.num_classes for crops in drawn],
                    "right person": [each.right_person for each in accuracy],
                    "canonical": [each.canonical for each in accuracy],
                }
            )
        return levels


@lru_cache(maxsize=12)
def _train_crops(street: Street) -> Crops:
    return street.train()


@lru_cache(maxsize=16)
def _held_crops(street: Street, name: str, persons: int) -> tuple[Crops, Crops]:
    return street.validation(persons) if name == "validation" else street.test(persons)


@lru_cache(maxsize=4)
def _target(seed: int, persons: int, held: int, size: tuple[int, int]) -> Target:
    return Target(seed, persons, held, size)


def _packed(prefix: str, scores: Scores | None) -> dict[str, Any]:
    if scores is None:  # a network that has died finds nobody
        return {f"{prefix}_mAP": 0.0, f"{prefix}_mINP": 0.0, f"{prefix}_cmc": np.zeros(_RANKS)}
    return {f"{prefix}_mAP": scores.mAP, f"{prefix}_mINP": scores.mINP, f"{prefix}_cmc": scores.cmc[:_RANKS]}


def _listed(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, list[Any]]:
    """Scores of the test persons in 0..1 and CPU seconds, a value a seed."""
    return {
        "mAP": [float(part["test_mAP"]) for part in parts],
        "mINP": [float(part["test_mINP"]) for part in parts],
        "rank-1": [float(part["test_cmc"][0]) for part in parts],
        "cmc": [part["test_cmc"].tolist() for part in parts],
        "seconds": [float(part["seconds"]) for part in parts],
    }
