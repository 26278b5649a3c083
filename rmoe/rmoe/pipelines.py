"""The paper's training pipelines side by side on the procedural default, each tuned over the same rates.

A part of the job is one training; what a killed run had finished is not trained again. The rate of every stage of every
row is chosen on validation draws of the tuning seeds, by their mean (upstream: class accuracy; downstream: mIoU of
patches), and used for the other seeds; what is reported are test draws. Every seed draws palettes, textures, rules,
images, weights and the order of batches anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rmoe import cost, stages
from rmoe.data.mosaic import Mosaic
from rmoe.evaluation.experts import contingency, shared_information
from rmoe.models.mosaic_net import MosaicNet
from rmoe.moe import convert, diagnostics, moe_layers
from shared_utils import UserError
from shared_utils.work import Work


class Row(NamedTuple):
    """A pipeline: what is pre-trained upstream, and what becomes of it.

    ``start``: ``dense``, ``moe``, ``wide`` (dense, with a feed-forward layer of as many parameters as the experts), or None:
    nothing is pre-trained. ``mixture``: switches of the conversion before what follows; None: none. ``intermediate``: a
    short training on the upstream task after it.
    """

    title: str
    start: str | None
    mixture: Mapping[str, Any] | None = None
    intermediate: bool = False


ROWS: dict[str, Row] = {
    "scratch": Row("dense from scratch", None),
    "dense": Row("dense", "dense"),
    "rmoe_d": Row("RMoE-D", "dense", {}),
    "rmoe_i": Row("RMoE-I", "dense", {}, intermediate=True),
    "moe": Row("MoE pre-trained", "moe"),
    "upcycled": Row("plain upcycling", "dense", {"param": "merged", "gate": "prob", "overflow": "zero"}),
    "wide": Row("dense, wide FFN", "wide"),
}
WORLDS: dict[str, tuple[str, dict[str, bool], tuple[str, ...]]] = {
    "rules": ("a rule for each domain", {}, tuple(ROWS)),
    "one_rule": ("control: one rule for all domains", {"one_rule": True}, ("dense", "rmoe_d")),
    "unshared": ("other rules downstream than upstream", {"shared_rule": False}, ("scratch", "dense", "rmoe_d")),
}
"""Title, switches of the data, and the rows that are trained there."""


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        rows: names of ``ROWS``.
        worlds: names of ``WORLDS``.
        seeds: of data, weights and order.
        tuning: those of the seeds on whose validation draws the rates are chosen.
        rates: the grid of learning rates, of every stage of every row.
        upstream_steps: of pre-training.
        intermediate_steps: of RMoE-I's second stage.
        downstream_steps: budgets of the last stage; the first is the one that all worlds have.
        upstream_images: for pre-training.
        scenes: for the last stage.
        held: images of a validation or test draw.
        hidden: of the feed-forward layers.
        wide: of the row ``wide``: 8 experts of 8.
        mosaic: other arguments of the data.
    """

    rows: tuple[str, ...] = tuple(ROWS)
    worlds: tuple[str, ...] = tuple(WORLDS)
    seeds: tuple[int, ...] = (0, 1, 2)
    tuning: tuple[int, ...] = (0,)
    rates: tuple[float, ...] = (8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.28e-1)
    upstream_steps: int = 400
    intermediate_steps: int = 100
    downstream_steps: tuple[int, ...] = (250, 80)
    upstream_images: int = 4096
    scenes: int = 512
    held: int = 256
    hidden: int = 8
    wide: int = 64
    mosaic: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for given, known, what in ((self.rows, ROWS, "pipeline"), (self.worlds, WORLDS, "world")):
            unknown = [name for name in given if name not in known]
            if unknown or not given:
                raise UserError(f"the {what} {(unknown or [''])[0]!r} is unknown: choose of {', '.join(known)}")
        if not (self.seeds and self.rates and self.downstream_steps):
            raise UserError("a comparison needs a seed, a rate and a number of downstream steps")
        if not self.tuning or not set(self.tuning) <= set(self.seeds):
            raise UserError(f"the tuning seeds {self.tuning} must be some of the seeds {self.seeds}")

    def description(self) -> dict[str, Any]:
        """Plain values for ``shared_utils.work``."""
        return asdict(self) | {"mixture": stages.MIXTURE}


class Cell(NamedTuple):
    """One training: its place is the name of its part."""

    world: str
    seed: int
    stage: str
    row: str
    rate: float

    @property
    def name(self) -> str:
        return f"{self.world}/{self.stage}/{self.row}/rate_{self.rate:g}/seed_{self.seed}"


class Comparison:
    """Trains what a plan lists, in the folder of a job.

    Args:
        plan: what.
        work: of ``shared_utils.work.begin`` with the plan's description.
    """

    def __init__(self, plan: Plan, work: Work) -> None:
        self.plan, self.work = plan, work
        self.chosen: dict[tuple[str, str, str], float] = {}
        self.counted: dict[str, int] = {}
        self.numbers: dict[str, dict[str, float]] = {}

    def run(self) -> dict[str, Any]:
        """Train everything that is missing; the results as plain values (see ``results``)."""
        upstream = {
            (self._upstream_world(world), start)
            for world, row in self._rows()
            if (start := ROWS[row].start) is not None
        }
        self._finish("upstream", sorted(upstream), "pre-training")
        intermediate = [(world, row) for world, row in self._rows() if ROWS[row].intermediate]
        self._finish("intermediate", intermediate, "intermediate stage")
        for steps in self.plan.downstream_steps:
            rows = [pair for pair in self._rows() if self._wanted(*pair, steps)]
            self._finish(f"downstream_{steps}", rows, f"{steps} downstream steps")
        return self.results()

    def _rows(self) -> list[tuple[str, str]]:
        return [(world, row) for world in self.plan.worlds for row in WORLDS[world][2] if row in self.plan.rows]

    def _wanted(self, world: str, row: str, steps: int) -> bool:
        """Short budgets are for what the paper compares, and its control."""
        return steps == self.plan.downstream_steps[0] or (world != "unshared" and row not in ("wide",))

    @staticmethod
    def _upstream_world(world: str) -> str:
        return "rules" if world == "unshared" else world  # it differs downstream only

    def _finish(self, stage: str, rows: Sequence[tuple[str, str]], description: str) -> None:
        """Train a stage of some rows: first the grid with the tuning seeds, then the other seeds at the chosen rates."""
        plan = self.plan
        tried = [Cell(world, seed, stage, row, r) for world, row in rows for r in plan.rates for seed in plan.tuning]
        self._run(tried, f"{description}: the grid")
        self.chosen |= {(world, stage, row): self._best(world, stage, row) for world, row in rows}
        others = [seed for seed in plan.seeds if seed not in plan.tuning]
        rest = [Cell(w, seed, stage, row, self.chosen[w, stage, row]) for w, row in rows for seed in others]
        self._run(rest, f"{description}: the other seeds")

    def _run(self, cells: Iterable[Cell], description: str) -> None:
        by_name = {cell.name: cell for cell in cells}
        self.work.finish(list(by_name), lambda name: self._train(by_name[name]), description)

    def _best(self, world: str, stage: str, row: str) -> float:
        """The rate whose validation score, averaged over the tuning seeds, is highest; the smaller one of two equal ones."""
        return max(sorted(self.plan.rates), key=lambda rate: self._tried(world, stage, row, rate).mean())

    def _tried(self, world: str, stage: str, row: str, rate: float) -> np.ndarray:
        return self._values(world, stage, row, rate, "val", self.plan.tuning)

    def _values(
        self, world: str, stage: str, row: str, rate: float, key: str, seeds: Sequence[int] | None = None
    ) -> np.ndarray:
        names = [Cell(world, seed, stage, row, rate).name for seed in seeds or self.plan.seeds]
        return np.array([self._numbers(name)[key] for name in names])

    def _numbers(self, name: str) -> dict[str, float]:
        """The single numbers of a part, which are asked for again and again; its weights are not kept."""
        if name not in self.numbers:
            self.numbers[name] = {key: float(v) for key, v in self.work.read(name).items() if v.ndim == 0}
        return self.numbers[name]

    def mosaic(self, world: str, seed: int) -> Mosaic:
        """The data of a world."""
        return Mosaic(**{**self.plan.mosaic, "seed": seed, **WORLDS[world][1]})

    # One training ----------------------------------------------------------------------------------------------------

    def _train(self, cell: Cell) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1000 * cell.seed + 1)
            if cell.stage == "upstream":
                hidden = self.plan.wide if cell.row == "wide" else self.plan.hidden
                net = stages.backbone(hidden, {} if cell.row == "moe" else None, image_size=self._image_size)
                return self._upstream(cell, net, self.plan.upstream_steps)
            net = self.start(cell.world, cell.row, cell.seed, converted_only=cell.stage == "intermediate")
            if cell.stage == "intermediate":
                return self._upstream(cell, net, self.plan.intermediate_steps)
            return self._downstream(cell, net, int(cell.stage.removeprefix("downstream_")))

    @property
    def _image_size(self) -> int:
        return self.mosaic(self.plan.worlds[0], 0).image_size

    def _upstream(self, cell: Cell, net: MosaicNet, steps: int) -> dict[str, Any]:
        mosaic, plan = self.mosaic(self._upstream_world(cell.world), cell.seed), self.plan
        model = stages.classifier(net, mosaic)
        tensors = stages.upstream_tensors(mosaic, "train", plan.upstream_images)
        fit = stages.Fit(steps, cell.rate, cell.seed)
        losses, seconds = stages.train(model, tensors, stages.classification_loss, fit)
        images, _, classes = stages.upstream_tensors(mosaic, "val", plan.held)
        score = stages.class_accuracy(model, images, classes)
        return {"val": score, "seconds": seconds, "losses": losses, **_packed(net)}

    def _downstream(self, cell: Cell, net: MosaicNet, steps: int) -> dict[str, Any]:
        mosaic, plan = self.mosaic(cell.world, cell.seed), self.plan
        model = stages.segmenter(net, mosaic)
        tensors = stages.scene_tensors(mosaic, "train", plan.scenes)[:2]
        fit = stages.Fit(steps, cell.rate, cell.seed)
        losses, seconds = stages.train(model, tensors, stages.segmentation_loss, fit)
        found: dict[str, Any] = {"seconds": seconds, "losses": losses, **_packed(model)}
        for split in ("val", "test"):
            images, labels, domains, _ = stages.scene_tensors(mosaic, split, plan.held)
            predicted = stages.predicted_patches(model, images, labels)
            found[split] = stages.patch_miou(predicted, labels, mosaic.classes)
            found |= self._of_experts(model, images[:256], domains[:256]) if split == "test" else {}
        return found

    @staticmethod
    @torch.no_grad()
    def _of_experts(model: nn.Module, images: Tensor, domains: Tensor) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _, layer in moe_layers(model):
            model.eval()(images)
            experts = diagnostics.expert_map(layer)
            counts = contingency(experts[:, None], domains, layer.num_experts, int(domains.max()) + 1)
            found = {
                "information": shared_information(counts),
                "load": diagnostics.load(layer.routing).share,
                "residual": diagnostics.residual_norms(layer),
            }
        return found

    def start(self, world: str, row: str, seed: int, converted_only: bool = False) -> MosaicNet:
        """The backbone with which a row begins its last stage.

        Args:
            world: of ``WORLDS``.
            row: of ``ROWS``.
            seed: of the plan.
            converted_only: before the intermediate stage.
        """
        spec, above = ROWS[row], self._upstream_world(world)
        hidden = self.plan.wide if spec.start == "wide" else self.plan.hidden
        net = stages.backbone(hidden, {} if spec.start == "moe" else None, image_size=self._image_size)
        if spec.start is None:
            return net
        rate = self.chosen[above, "upstream", spec.start]
        _load(net, self.work.read(Cell(above, seed, "upstream", spec.start, rate).name))
        if spec.mixture is not None:
            convert(net, stages.BLOCKS, **{**stages.MIXTURE, **spec.mixture})
        if spec.intermediate and not converted_only:
            _load(
                net,
                self.work.read(Cell(world, seed, "intermediate", row, self.chosen[world, "intermediate", row]).name),
            )
        return net

    def trained(self, world: str, row: str, seed: int, steps: int) -> nn.Module:
        """The segmenter at the end of a row, at its chosen rate."""
        stage = f"downstream_{steps}"
        model = stages.segmenter(self.start(world, row, seed), self.mosaic(world, seed))
        _load(model, self.work.read(Cell(world, seed, stage, row, self.chosen[world, stage, row]).name))
        return model.eval()

    # Results ---------------------------------------------------------------------------------------------------------

    def results(self) -> dict[str, Any]:
        """``plan``; ``rows``, one for each row, world and budget, with a score a seed; ``grid``, every score of every rate."""
        grid = [
            {
                "world": world,
                "stage": stage,
                "row": row,
                "rate": rate,
                "chosen": rate == best,
                "val": self._tried(world, stage, row, rate).tolist(),
            }
            for (world, stage, row), best in self.chosen.items()
            for rate in self.plan.rates
        ]
        rows = [
            self._result(world, row, steps)
            for steps in self.plan.downstream_steps
            for world, row in self._rows()
            if (world, f"downstream_{steps}", row) in self.chosen
        ]
        return {"plan": self.plan.description(), "conversion": self.conversion_error(), "rows": rows, "grid": grid}

    def _result(self, world: str, row: str, steps: int) -> dict[str, Any]:
        spec, stage, above = ROWS[row], f"downstream_{steps}", self._upstream_world(world)
        rate = self.chosen[world, stage, row]

        def values(key: str, world: str = world, stage: str = stage, row: str = row, rate: float = rate) -> list[float]:
            return self._values(world, stage, row, rate, key).tolist()

        result: dict[str, Any] = {"world": world, "row": row, "steps": steps, "rate": rate, "miou": values("test")}
        seconds = {"upstream": 0.0, "intermediate": 0.0, "downstream": float(np.mean(values("seconds")))}
        result["upstream accuracy"] = None
        if spec.start is not None:
            best = self.chosen[above, "upstream", spec.start]
            at = {"world": above, "stage": "upstream", "row": spec.start, "rate": best}
            seconds["upstream"] = float(np.mean(values("seconds", **at)))
            result["upstream accuracy"] = values("val", **at)
        if spec.intermediate:
            at = {"stage": "intermediate", "rate": self.chosen[world, "intermediate", row]}
            seconds["intermediate"] = float(np.mean(values("seconds", **at)))
            result["upstream accuracy"] = values("val", **at)
        with torch.random.fork_rng(devices=[]):
            model = self.trained(world, row, self.plan.seeds[0], steps)
            forward = cost.forward_flops(model, self._example())
            flops = self._flops(row, forward, steps)
        result |= {"seconds": seconds, "flops": flops, **diagnostics.parameters(model)._asdict()}
        result["forward flops"] = forward
        first = self.work.read(Cell(world, self.plan.seeds[0], stage, row, rate).name)
        result["information"] = values("information") if "information" in first else None
        result["load"] = first["load"].tolist() if "load" in first else None
        result["residual"] = first["residual"].tolist() if "residual" in first else None
        return result

    def _example(self) -> Tensor:
        return torch.zeros(1, 3, self._image_size, self._image_size)

    def _flops(self, row: str, forward: int, steps: int) -> dict[str, float]:
        """Of training by stage. Upstream a head more or less is not counted: both have one on tokens or their mean."""
        spec, batch = ROWS[row], stages.Fit(1, 1.0, 0).batch_size
        upstream = 0.0 if spec.start is None else cost.training_flops(self._forward_of(spec.start), batch, 1)
        own = cost.training_flops(forward, batch, 1)
        return {
            "upstream": upstream * self.plan.upstream_steps,
            "intermediate": own * self.plan.intermediate_steps * spec.intermediate,
            "downstream": own * steps,
        }

    def _forward_of(self, start: str) -> int:
        if start not in self.counted:
            hidden = self.plan.wide if start == "wide" else self.plan.hidden
            net = stages.backbone(hidden, {} if start == "moe" else None, image_size=self._image_size)
            self.counted[start] = cost.forward_flops(stages.segmenter(net, self.mosaic("rules", 0)), self._example())
        return self.counted[start]

    def conversion_error(self) -> float | None:
        """The largest difference of the maps of the dense backbone and the converted one, before anything is trained."""
        if not {"dense", "rmoe_d"} <= set(self.plan.rows) or "rules" not in self.plan.worlds:
            return None
        worst = 0.0
        for seed in self.plan.seeds:
            images = stages.scene_tensors(self.mosaic("rules", seed), "test", self.plan.held)[0][:64]
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                dense, converted = (self.start("rules", row, seed).eval()(images)[0] for row in ("dense", "rmoe_d"))
            worst = max(worst, float((dense - converted).abs().max()))
        return worst


def _packed(model: nn.Module) -> dict[str, Tensor]:
    return {f"state.{name}": value for name, value in model.state_dict().items()}


def _load(model: nn.Module, part: Mapping[str, np.ndarray]) -> None:
    state = {name.removeprefix("state."): torch.from_numpy(v) for name, v in part.items() if name.startswith("state.")}
    model.load_state_dict(state)
