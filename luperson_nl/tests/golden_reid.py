"""Adapters of the cases of fine-tuning: whole networks in both modes, and each loss alone."""

import pytest
import torch
from torch.nn.functional import normalize, softplus

from luperson_nl import losses
from luperson_nl.models.statistics import STATISTICS
from luperson_nl.published import import_published

# What the fork's config files set, as far as a network or its loss shows it; "set" of a case comes on top.
_DEFAULTS = {
    "MODEL.HEADS.POOL_LAYER": "avgpool",
    "MODEL.HEADS.CLS_LAYER": "linear",
    "MODEL.HEADS.NECK_FEAT": "before",
    "MODEL.HEADS.SCALE": 128,
    "MODEL.HEADS.MARGIN": 0.15,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "MODEL.LOSSES.CE.EPSILON": 0.1,
    "MODEL.LOSSES.TRI.MARGIN": 0.3,
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "MODEL.LOSSES.TRI.NORM_FEAT": False,
    "MODEL.LOSSES.CIRCLE.MARGIN": 0.25,
    "MODEL.LOSSES.CIRCLE.ALPHA": 128,
    "MODEL.PIXEL_MEAN": None,
    "MODEL.PIXEL_STD": None,
}
_STRONGER = {
    "MODEL.HEADS.POOL_LAYER": "gempoolP",
    "MODEL.HEADS.CLS_LAYER": "circleSoftmax",
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.HEADS.SCALE": 64,
    "MODEL.HEADS.MARGIN": 0.35,
    "MODEL.LOSSES.TRI.MARGIN": 0.0,
}
_FILES = {
    "bagtricks": {},
    "agw": {
        "MODEL.HEADS.POOL_LAYER": "gempool",
        "MODEL.LOSSES.TRI.MARGIN": 0.0,
        "MODEL.LOSSES.TRI.HARD_MINING": False,
    },
    "sbs": _STRONGER,
    "mgn": _STRONGER,
    "bot": {"MODEL.HEADS.EMBEDDING_DIM": 128},
    "ide": {"MODEL.HEADS.NECK_FEAT": "after", "MODEL.LOSSES.NAME": ("CrossEntropyLoss",)},
}
_POOLS = {
    "avgpool": "mean",
    "fastavgpool": "mean",
    "globalavgpool": "mean",
    "maxpool": "max",
    "avgmaxpool": "mean_max",
    "clipavgpool": "clipped_mean",
    "gempool": "gem",
    "generalizedmeanpooling": "gem",
    "gempoolp": "gem_learned",
    "generalizedmeanpoolingp": "gem_learned",
}
# Pixel means and deviations in 0..255 of the configs that do not keep ImageNet's, by the end of their names.
_PIXELS = {
    "img_moco": ([123.675, 116.280, 103.530], [58.395, 57.120, 57.375]),
    "moco": ([89.896, 79.200, 80.073], [63.872, 64.305, 63.839]),
    "lup200": ([88.026, 78.285, 79.407], [67.142, 63.750, 63.240]),
    "lup300": ([88.306, 78.464, 79.560], [67.524, 64.056, 63.546]),
    "cmdm": ([83.022, 77.974, 80.642], [66.372, 63.468, 60.974]),
    "": tuple([255 * value for value in values] for values in STATISTICS["imagenet"]),
}


def _settings(case):
    file = case.config.get("file", "").rsplit("/", 1)[-1].lower().removesuffix(".yml").removeprefix("base-")
    known = next((values for name, values in _FILES.items() if file.startswith(name)), {})
    settings = {**_DEFAULTS, **known, **(case.config.get("set") or {})}
    mean, std = next(values for name, values in _PIXELS.items() if file.endswith(name))
    settings["MODEL.PIXEL_MEAN"] = settings["MODEL.PIXEL_MEAN"] or mean
    settings["MODEL.PIXEL_STD"] = settings["MODEL.PIXEL_STD"] or std
    return settings


def _network(case, settings):
    state = case.state_dict()
    for name, key in (("pixel_mean", "MODEL.PIXEL_MEAN"), ("pixel_std", "MODEL.PIXEL_STD")):
        state.setdefault(name, torch.tensor(settings[key]).reshape(1, 3, 1, 1))
    options = {
        "pool": _POOLS[settings["MODEL.HEADS.POOL_LAYER"].lower()],
        "classifier": "circle" if "circle" in settings["MODEL.HEADS.CLS_LAYER"].lower() else "linear",
        "neck_feature": settings["MODEL.HEADS.NECK_FEAT"],
    }
    if settings.get("MODEL.BACKBONE.LAST_STRIDE", 1) != 1:
        options["last_stride"] = settings["MODEL.BACKBONE.LAST_STRIDE"]
    published = import_published({"model": state}, **options)
    # In 0..255, as published: gradients jump where a ReLU is so near 0 that the last bit of its input decides.
    mean, std = (255 * torch.tensor(values).reshape(1, 3, 1, 1) for values in published.statistics)
    return published, (torch.from_numpy(case.inputs()["images"]) - mean) / std


class _ReLUAtZero(torch.autograd.Function):
    """ReLU whose derivative is 1, or 0, for inputs so near 0 that the order of a sum decides on which side they are."""

    @staticmethod
    def forward(context, x, open_there):
        near = 2e-4 * x.square().mean().sqrt()
        context.save_for_backward(x > (-near if open_there else near))
        return x.clamp_min(0)

    @staticmethod
    def backward(context, gradient):
        return gradient * context.saved_tensors[0], None


def fastreid(case):
    """BoT, AGW or MGN, in evaluation the feature, in training every loss and some gradients.

    Other kernels, and so other machines, round otherwise, and a gradient jumps where that takes a ReLU over 0: entries that
    differ between the two derivatives there are free, if they are fewer than a tenth.
    """
    ours = _fastreid(case)
    gradients = [name for name in case.spec["outputs"] if name.startswith("grad.")]
    if not gradients:
        return ours
    sides = []
    for open_there in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.ReLU, "forward", lambda _, x, side=open_there: _ReLUAtZero.apply(x, side))
            sides.append(_fastreid(case))
    free = {}
    for name in gradients:
        apart = (sides[0][name] - sides[1][name]).abs()
        undecided = (apart > 0.1 * case.spec["tolerance"] * ours[name].abs().max()).numpy()
        free[name] = undecided & (undecided.mean() < 0.1)
    return ours, free


def _fastreid(case):
    settings = _settings(case)
    published, images = _network(case, settings)
    network = published.network
    if case.spec["mode"] == "eval":
        with torch.no_grad():
            return {"feature": network.eval()(images)}
    labels = torch.from_numpy(case.inputs()["labels"])
    margin = settings["MODEL.LOSSES.TRI.MARGIN"]
    found = losses.LossSettings(
        smoothing=settings["MODEL.LOSSES.CE.EPSILON"],
        margin=margin if margin > 0 else None,
        mining="hard" if settings["MODEL.LOSSES.TRI.HARD_MINING"] else "weighted",
        normalised=settings["MODEL.LOSSES.TRI.NORM_FEAT"],
        scale=settings["MODEL.HEADS.SCALE"],
        circle_margin=settings["MODEL.HEADS.MARGIN"],
    )
    outputs = network.train()(images)
    terms = losses.reid_loss(published.kind, outputs, labels, found)
    wanted = {"cls": "CrossEntropyLoss", "triplet": "TripletLoss"}
    terms = {name: term for name, term in terms.items() if wanted[name.split("_")[0]] in settings["MODEL.LOSSES.NAME"]}
    scales = {"cls": settings.get("MODEL.LOSSES.CE.SCALE", 1.0), "triplet": settings.get("MODEL.LOSSES.TRI.SCALE", 1.0)}
    terms = {name: scales[name.split("_")[0]] * term for name, term in terms.items()}
    if "CircleLoss" in settings["MODEL.LOSSES.NAME"]:
        feature = outputs["heads"]["feature"]
        terms["circle"] = losses.circle(
            feature, labels, settings["MODEL.LOSSES.CIRCLE.MARGIN"], settings["MODEL.LOSSES.CIRCLE.ALPHA"]
        )
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    gradients = {f"grad.{name}": parameter.grad for name, parameter in network.named_parameters()}
    state = network.state_dict()
    return {**{f"loss_{name}": term for name, term in terms.items()}, "total": total, **state, **gradients}


def _circle_fork(features, labels, margin, gamma):
    """The fork's circle loss: what is masked stays in with similarity 0; here alone, to show the difference."""
    features = normalize(features)
    cosine = features @ features.t()
    same = (labels[:, None] == labels[None]).float()
    positive = cosine * (same - torch.eye(len(labels)))
    negative = cosine * (1 - same)
    logit_p = -gamma * (1 + margin - positive.detach()).clamp(min=0) * (positive - (1 - margin))
    logit_n = gamma * (negative.detach() + margin).clamp(min=0) * (negative - margin)
    return softplus(logit_p.logsumexp(1) + logit_n.logsumexp(1)).mean()


def reid_losses(case):
    """Each loss and its gradient; the settings stand in the names of the outputs."""
    given = {name: torch.from_numpy(value) for name, value in case.inputs().items()}
    labels, weight = given["labels"], given["class_weight"]

    def cosines(embedding):
        return normalize(embedding) @ normalize(weight).t()

    def value_of(name, embedding, logits):
        if name.startswith("ce_smooth_"):
            return losses.cross_entropy_smooth(logits, labels, float(name.removeprefix("ce_smooth_")))
        if name.startswith("triplet_"):
            setting = name.rsplit("_", 1)[1]
            margin = None if setting == "soft" else float(setting)
            mining = "weighted" if "weighted" in name else "hard"
            return losses.triplet(embedding, labels, margin, mining, "norm" in name)
        if name.startswith("circle_softmax_ce_"):
            smoothing = float(name.removeprefix("circle_softmax_ce_"))
            return losses.cross_entropy_smooth(losses.circle_softmax(cosines(embedding), labels), labels, smoothing)
        margin, gamma = case.config.get("margin", 0.25), case.config.get("gamma", 64.0)
        return {"circle": losses.circle, "circle_fork": _circle_fork}[name](embedding, labels, margin, gamma)

    ours = {"circle_softmax_logits": losses.circle_softmax(cosines(given["embedding"]), labels)}
    for name in case.spec["outputs"]:
        if name.startswith("grad_") or name in ours:
            continue
        embedding, logits = given["embedding"].clone().requires_grad_(), given["logits"].clone().requires_grad_()
        ours[name] = value_of(name, embedding, logits)
        ours[name].backward()
        ours[f"grad_{name}"] = logits.grad if embedding.grad is None else embedding.grad
    return ours


ADAPTERS = {
    "fastreid": fastreid,
    "reid_losses": reid_losses,
    "fast-reid fork": fastreid,
    "fast-reid fork: losses/*.py, layers/circle_softmax.py; upstream: pairwise_circleloss": reid_losses,
}
