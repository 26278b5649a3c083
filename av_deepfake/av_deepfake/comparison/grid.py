"""The trainings of a plan as parts of a job on disk, the choice of the rate, and the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from av_deepfake import metrics
from av_deepfake.comparison import measuring, statistics
from av_deepfake.comparison.plan import (
    CHANGES,
    KINDS,
    LEFT_OUT,
    PRETRAININGS,
    ROWS,
    SHUFFLED_FRAMES,
    STATISTICS,
    STRENGTHS,
    Plan,
    Row,
)
from av_deepfake.comparison.training import Tuning, both_ways, detector, logits, networks, pretrain, tune
from av_deepfake.models.branches import AudioVisual, VideoBranch
from av_deepfake.procedural import SPEAKERS, Fakes, Mouths
from shared_utils.work import Work

_DRAWS = 5
"""Of random front-ends whose probes are averaged: one draw says little."""


class Comparison:
    """Trains what a plan lists, in the folder of a job.

    Args:
        plan: what.
        work: of ``shared_utils.work.begin`` with the plan's description.
        report: called with the results so far, after the rows of all seeds and after the dear ones of each.
    """

    def __init__(self, plan: Plan, work: Work, report: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.plan, self.work, self._report = plan, work, report
        self.chosen: dict[str, float] = {}
        """Rate by name of the tries, and the strength of the statistics."""

    def run(self) -> dict[str, Any]:
        """Train everything that is missing; the results as plain values (see ``results``)."""
        plan = self.plan
        everyone = [plan.tuning, *plan.seeds]
        self._finish([("pretrained", seed) for seed in everyone], self._pretrain, "pre-training")
        tries = [(kind, number) for kind in KINDS for number in range(len(plan.rates))]
        self._finish([("tries", *each) for each in tries] + [("tries", STATISTICS)], self._try, "the tries of the rate")
        self._choose()
        rows = [name for name, row in ROWS.items() if not row.side]
        self._finish(
            self._parts(rows, plan.seeds) + [(STATISTICS, seed) for seed in plan.seeds], self._detect, "every seed"
        )
        self._show()
        rows = [name for name, row in ROWS.items() if row.side]
        for seed in plan.side_seeds:
            begun = [(name, seed) for name in PRETRAININGS if name != "pretrained"]
            self._finish(begun, self._pretrain, f"pre-trainings of the dear rows, seed {seed}")
            self._finish(self._parts(rows, [seed]), self._detect, f"dear rows, seed {seed}")
            self._show()
        return self.results()

    def _show(self) -> None:
        if self._report is not None:
            self._report(self.results())

    def _parts(self, rows: Sequence[str], seeds: Sequence[int]) -> list[tuple]:
        return [("row", name, seed, out) for name in rows for seed in seeds for out in ROWS[name].left_out]

    def _finish(self, parts: Sequence[tuple], compute: Callable[..., dict[str, Any]], description: str) -> None:
        by_name = {"/".join(map(str, part)): part for part in parts}
        self.work.finish(list(by_name), lambda name: compute(*by_name[name]), description)

    def mouths(self, seed: int) -> Mouths:
        """Whom a seed is about."""
        return Mouths(seed)

    # -- parts

    def _pretrain(self, name: str, seed: int) -> dict[str, Any]:
        plan, spec, mouths = self.plan, PRETRAININGS[name], self.mouths(seed)
        speakers = SPEAKERS["pretraining"][: plan.speakers]
        recordings = mouths.recordings(speakers, plan.per_speaker, nuisance=spec.nuisance)
        done = pretrain(recordings, plan.pretraining, seed, spec.shuffled)
        found = {"seconds": done.seconds, "losses": done.losses}
        weights = {f"state.{key}": value for key, value in done.model.state_dict().items()}
        known = measuring.agreement(done.model, mouths, plan.galleries, plan.timed)
        if name == "pretrained":
            random = [
                measuring.probes(networks(1000 + seed * _DRAWS + draw).video, mouths, plan.galleries[0])
                for draw in range(_DRAWS)
            ]
            known |= {f"random_{key}": float(np.mean([each[key] for each in random])) for key in ("jaw", "spread")}
        return found | weights | known | measuring.probes(done.model.video, mouths, plan.galleries[0])

    def branches(self, name: str, seed: int) -> AudioVisual:
        """Branches of a pre-training, or random ones, in evaluation mode."""
        model = networks(seed + 500)
        if name != "random":
            found = self.work.read(f"{name}/{seed}")
            state = {key[6:]: torch.from_numpy(value) for key, value in found.items() if key.startswith("state.")}
            model.load_state_dict(state)
        return model.eval()

    def _try(self, _: str, kind: str, number: int = 0) -> dict[str, Any]:
        plan, mouths = self.plan, self.mouths(self.plan.tuning)
        train = mouths.detection("train", plan.train, compressed=0.5)
        held = [mouths.detection("val", plan.test // 2, compressed=change) for change in (False, True)]
        if kind == STATISTICS:
            models = [statistics.fit(train, strength) for strength in STRENGTHS]
            aucs = [
                np.mean([metrics.auc(statistics.scores(model, each.pictures), each.label) for each in held])
                for model in models
            ]
            return {"val_auc": np.array(aucs)}
        settings = replace(plan.tuning_of, rate=plan.rates[number])
        model = self._trained(ROWS[KINDS[kind]], plan.tuning, train, settings)
        return {"val_auc": np.mean([metrics.auc(logits(model, each.pictures), each.label) for each in held])}

    def _choose(self) -> None:
        for kind in KINDS:
            scores = [float(self.work.read(f"tries/{kind}/{n}")["val_auc"]) for n in range(len(self.plan.rates))]
            self.chosen[kind] = self.plan.rates[int(np.argmax(scores))]
        self.chosen[STATISTICS] = STRENGTHS[int(np.argmax(self.work.read(f"tries/{STATISTICS}")["val_auc"]))]

    def _detect(self, what: str, name: Any, seed: int = 0, out: str = "") -> dict[str, Any]:
        if what == STATISTICS:
            return self._statistics(name)
        plan, row, mouths = self.plan, ROWS[name], self.mouths(seed)
        train = _without(mouths.detection("train", plan.train, compressed=0.5), out)
        settings = replace(plan.tuning_of, rate=self.chosen[row.kind], steps=plan.tuning_of.steps * row.longer)
        model = self._trained(row, seed, train, settings)
        found: dict[str, Any] = {}
        for change, clips in self._tests(mouths).items():
            pictures = measuring.single_frames(clips.pictures) if row.single else clips.pictures
            found[change] = logits(model, pictures)
            if name == "pretrained":
                found[f"{SHUFFLED_FRAMES}.{change}"] = logits(model, measuring.shuffled_frames(pictures, seed))
                found[f"blurred.{change}"] = logits(model, mouths.blurred("test", plan.test, change == "compressed"))
        return found

    def _tests(self, mouths: Mouths) -> dict[str, Fakes]:
        return {
            change: mouths.detection("test", self.plan.test, compressed=change == "compressed") for change in CHANGES
        }

    def _trained(self, row: Row, seed: int, train: Fakes, settings: Tuning) -> Any:
        branch: VideoBranch = self.branches(row.begin, seed).video
        settings = replace(settings, unfreeze=row.unfreeze)
        if row.single:
            train = train._replace(pictures=measuring.single_frames(train.pictures))
        features: Tensor | None = both_ways(branch, train.pictures) if row.unfreeze == "encoder" else None
        return tune(detector(branch, seed), train, settings, seed, features).model

    def _statistics(self, seed: int) -> dict[str, Any]:
        mouths, found = self.mouths(seed), {}
        train, tests = mouths.detection("train", self.plan.train, compressed=0.5), self._tests(mouths)
        for out in LEFT_OUT:
            model = statistics.fit(_without(train, out), self.chosen[STATISTICS])
            found |= {f"{out}.{change}": statistics.scores(model, clips.pictures) for change, clips in tests.items()}
        return found

    # -- results

    def _labels(self) -> tuple[np.ndarray, np.ndarray]:
        method = np.repeat(["real", *LEFT_OUT], self.plan.test)
        return method, (method != "real").astype(np.int64)

    def _scores(self, name: str, seed: int, out: str, change: str) -> np.ndarray:
        if name == STATISTICS:
            return self.work.read(f"{STATISTICS}/{seed}")[f"{out}.{change}"]
        if name == SHUFFLED_FRAMES:
            return self.work.read(f"row/pretrained/{seed}/{out}")[f"{SHUFFLED_FRAMES}.{change}"]
        return self.work.read(f"row/{name}/{seed}/{out}")[change]

    def aucs(self, name: str, seed: int) -> dict[str, float]:
        """AUC of a row: "CHANGE/METHOD" of the one left out, "CHANGE/seen" the mean over those that were trained on."""
        method, label = self._labels()
        left_out = ROWS[name].left_out if name in ROWS else LEFT_OUT
        found: dict[str, float] = {}
        for change in CHANGES:
            seen = []
            for out in left_out:
                scores = self._scores(name, seed, out, change)
                own, rest = np.isin(method, ["real", out]), method != out
                found[f"{change}/{out}"] = float(metrics.auc(scores[own], label[own]))
                seen.append(float(metrics.auc(scores[rest], label[rest])))
            found[f"{change}/seen"] = float(np.mean(seen))
        return found

    def results(self) -> dict[str, Any]:
        """``plan``; ``rows``: AUC by "CHANGE/METHOD", a value a seed; ``pretrainings``: their numbers, a value a seed;
        ``tries``: validation AUC of every try; ``blurred``: AUC of blurred genuine clips against genuine ones. A row has the
        seeds that are finished."""
        plan = self.plan
        self._choose()
        rows = []
        for name in (*ROWS, SHUFFLED_FRAMES, STATISTICS):
            parts = [f"row/{name}/{{seed}}/{out}" for out in ROWS[name].left_out] if name in ROWS else []
            seeds = self._finished(parts, plan.seeds_of(name))
            if not seeds:
                continue
            by_seed = [self.aucs(name, seed) for seed in seeds]
            auc = {key: [values[key] for values in by_seed] for key in by_seed[0]}
            rows.append({"row": name, "seeds": list(seeds), "auc": auc})
        pretrainings = []
        for name in PRETRAININGS:
            if seeds := self._finished([f"{name}/{{seed}}"], plan.pretrained_for(name)):
                parts = [self.work.read(f"{name}/{seed}") for seed in seeds]
                numbers = {
                    k: [float(part[k]) for part in parts]
                    for k in parts[0]
                    if np.ndim(parts[0][k]) == 0 and "." not in k
                }
                pretrainings.append({"name": name, "seeds": list(seeds), **numbers})
        return {
            "plan": plan.description(),
            "rows": rows,
            "pretrainings": pretrainings,
            "tries": self._tries(),
            "blurred": {change: [self._blurred(seed, change) for seed in plan.seeds] for change in CHANGES},
        }

    def _finished(self, parts: Sequence[str], seeds: Sequence[int]) -> list[int]:
        return [seed for seed in seeds if all(self.work.has(part.format(seed=seed)) for part in parts)]

    def _blurred(self, seed: int, change: str) -> float:
        # By the detector that was not trained on the method with this blur.
        part, count = self.work.read(f"row/pretrained/{seed}/B"), self.plan.test
        scores = np.concatenate([part[change][:count], part[f"blurred.{change}"]])
        return float(metrics.auc(scores, np.repeat([0, 1], count)))

    def _tries(self) -> list[dict[str, Any]]:
        found = []
        for kind in KINDS:
            for number, rate in enumerate(self.plan.rates):
                value = float(self.work.read(f"tries/{kind}/{number}")["val_auc"])
                found.append({"kind": kind, "value": rate, "val_auc": value, "chosen": rate == self.chosen[kind]})
        for strength, value in zip(STRENGTHS, self.work.read(f"tries/{STATISTICS}")["val_auc"], strict=True):
            chosen = strength == self.chosen[STATISTICS]
            found.append({"kind": STATISTICS, "value": strength, "val_auc": float(value), "chosen": chosen})
        return found


def _without(clips: Fakes, method: str) -> Fakes:
    kept = clips.method != method
    return Fakes(*(values[kept] for values in clips))
