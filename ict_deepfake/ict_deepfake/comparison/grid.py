"""The trainings of a plan as parts of a job on disk, the choice of the rate, and the results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from ict_deepfake.comparison import scoring
from ict_deepfake.comparison.plan import DEGRADATION, ROWS, TRAININGS, Plan
from ict_deepfake.comparison.training import Method, train
from ict_deepfake.data.module import FacesData
from ict_deepfake.models.binary import BinaryNetwork
from ict_deepfake.models.ict import ICT
from ict_deepfake.procedural import Population
from shared_utils.work import Work


class Part(NamedTuple):
    """One training: its place is the name of its part. ``number``: of the rate that was tried."""

    training: str
    number: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.training}/rate_{self.number}/seed_{self.seed}"


class Comparison:
    """Trains what a plan lists, in the folder of a job.

    Args:
        plan: what.
        work: of ``shared_utils.work.begin`` with the plan's description.
    """

    def __init__(self, plan: Plan, work: Work) -> None:
        self.plan, self.work = plan, work
        self.chosen: dict[Method, int] = {}
        """Number of the rate by method."""

    def run(self) -> dict[str, Any]:
        """Train everything that is missing; the results as plain values (see ``results``)."""
        plan = self.plan
        tries = [Part(method, number, plan.tuning) for method in plan.tuned for number in range(len(plan.rates))]
        self._finish(tries, "the tries of the rate")
        for method in plan.tuned:
            scores = [float(self.work.read(part.name)["val_auc"]) for part in self._tries(method)]
            self.chosen[method] = int(np.argmax(scores))
        self._finish([self.part(name, seed) for seed in plan.seeds for name in plan.trainings], "every seed")
        return self.results()

    def _tries(self, method: Method) -> list[Part]:
        return [Part(method, number, self.plan.tuning) for number in range(len(self.plan.rates))]

    def part(self, training: str, seed: int) -> Part:
        """The training of a reported seed, at the rate that was chosen for its method."""
        return Part(training, self.chosen[TRAININGS[training].method], seed)

    def _finish(self, parts: Iterable[Part], description: str) -> None:
        by_name = {part.name: part for part in parts}
        self.work.finish(list(by_name), lambda name: self._train(by_name[name]), description)

    def people(self, training: str, seed: int) -> Population:
        """Whom a training is about."""
        return self._data(training, seed).people

    def _data(self, training: str, seed: int) -> FacesData:
        plan, spec = self.plan, TRAININGS[training]
        return _data(seed, plan.size, plan.batch_size, (plan.persons, plan.pictures), spec.private)

    def _train(self, part: Part) -> dict[str, Any]:
        plan, spec = self.plan, TRAININGS[part.training]
        data = self._data(part.training, part.seed)
        settings = replace(plan.settings, rate=plan.rates[part.number])
        batches = data.batches(settings.steps, matched=spec.method == "binary")
        with torch.random.fork_rng(devices=[]):
            done = train(
                batches, spec.method, settings if spec.consistency else settings.without_consistency(), part.seed
            )
        found: dict[str, Any] = {"seconds": done.seconds, "losses": done.losses}
        if part.seed == plan.tuning:
            return found | {"val_auc": scoring.validation_auc(done.model, data.people)}
        weights = {f"state.{name}": value for name, value in done.model.state_dict().items()}
        return found | weights | scoring.score_all(done.model, data.people)

    def network(self, training: str, seed: int) -> ICT | BinaryNetwork:
        """A trained network, in evaluation mode."""
        found = self.work.read(self.part(training, seed).name)
        kind = BinaryNetwork if TRAININGS[training].method == "binary" else ICT
        model = kind(**self.plan.settings.network, img_size=self.plan.size)
        state = {name[6:]: torch.from_numpy(value) for name, value in found.items() if name.startswith("state.")}
        model.load_state_dict(state)
        return model.eval()

    def results(self) -> dict[str, Any]:
        """``plan``; ``rows``: AUC by "CHANGE/KIND", a value a seed; ``tries``: validation AUC of every rate."""
        plan = self.plan
        rows = []
        for name in plan.rows:
            spec = ROWS[name]
            parts = [self.work.read(self.part(spec.training, seed).name) for seed in plan.seeds]
            by_seed = [scoring.aucs(part, spec.score) for part in parts]
            rows.append(
                {
                    "row": name,
                    "auc": {key: [values[key] for values in by_seed] for key in by_seed[0]},
                    "seconds": [float(part["seconds"]) for part in parts],
                }
            )
        tries = [
            {
                "method": method,
                "rate": plan.rates[part.number],
                "val_auc": float(self.work.read(part.name)["val_auc"]),
                "chosen": part.number == self.chosen[method],
            }
            for method in plan.tuned
            for part in self._tries(method)
        ]
        return {"plan": plan.description(), "rows": rows, "tries": tries}


@lru_cache(maxsize=3)
def _data(seed: int, size: int, batch_size: int, train: tuple[int, int], private: float) -> FacesData:
    people = {"train": train, "private": private}
    return FacesData(size=size, batch_size=batch_size, seed=seed, degradation=DEGRADATION, population=people)
