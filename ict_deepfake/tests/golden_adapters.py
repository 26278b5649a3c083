"""Adapters of the golden cases: our own way to the numbers of a case, chosen by what the case contains."""

import random

import numpy as np
import torch
from torch.nn.functional import normalize

from ict_deepfake import metrics, scores
from ict_deepfake.degradations import operations
from ict_deepfake.faces.alignment import Alignment, align, network_input, published_size
from ict_deepfake.faces.retinaface import VARIANCE, anchors, decode_boxes, decode_points
from ict_deepfake.margin import build_head
from ict_deepfake.published import import_published
from ict_deepfake.swapping import blending, colour, masks

_HEADS = {"Arcface": "arcface", "Am_softmax": "cosface"}


def _tensors(case):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in case.inputs().items()}


def network(case):
    """The published network through the importer, with every block it names and, in training, every gradient."""
    config = case.config
    assert config["norm_eps"] == 1e-6
    model = import_published({"epoch": 0, "model": case.state_dict()}, config["num_heads"]).content
    shown = {key: model.config[key] for key in config if key != "norm_eps"}
    assert shown == {key: config[key] for key in shown}, f"the importer read {shown}"
    model.train(case.spec["mode"] == "train")
    found = {}

    def keep(name):
        return lambda module, given, output: found.__setitem__(name, output)

    model.patch_embed.register_forward_hook(keep("patch_embed"))
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(keep(f"block{index}"))
    tokens = model.tokens(_tensors(case)["image"])
    inner, outer = model.embed_tokens(*tokens)
    found |= {"token_inner": tokens[0], "token_outer": tokens[1], "inner": inner, "outer": outer}
    return {**found, "distance": scores.consistency(inner, outer), **model.state_dict()}


def reference_scores(case):
    """ICT and ICT-Ref of given embeddings, and the published evaluation of them."""
    config, given = case.config, _tensors(case)
    weights = config.get("reference_weights", {})
    made = scores.reference_scores(
        *(given[name] for name in ("inner", "outer", "reference_inner", "reference_outer")),
        k=config.get("neighbours", 1),
        amplitude=weights.get("top", 0.75),
        centre=weights.get("centre", 0.5),
        width=weights.get("tau", 0.5),
    )
    fake = 1 - given["label_real"].numpy()
    start, largest, step = config.get("threshold_grid", (0, 4, 0.01))
    assert start == 0
    curve = metrics.published_curve(made.d1.numpy(), fake, largest, step, config.get("folds", 5))
    return {
        "dist_ict": made.d1,
        "dist_outer_to_ref": made.d2,
        "dist_inner_to_ref": made.d3,
        "w_ict": made.w1,
        "w_outer_to_ref": made.w2,
        "w_inner_to_ref": made.w3,
        "score_ict_ref": made.score,
        "ref_outer_of_inner_match": made.outer_of_inner_match,
        "ref_inner_of_outer_match": made.inner_of_outer_match,
        "ref_inner_match": made.inner_of_inner_match,
        "ref_outer_match": made.outer_of_outer_match,
        "fold_tpr": curve.tpr,
        "fold_fpr": curve.fpr,
        "fold_acc": curve.accuracy,
        "fold_best_threshold": curve.best_threshold,
        "published_auc": curve.auc,
        "exact_auc": metrics.auc(made.d1.numpy(), fake),
        "exact_auc_ref": metrics.auc(made.score.numpy(), fake),
    }


def margins(case):
    """Both heads: logits, mean cross entropy, and the gradients of what is given before it is normalised."""
    given, found = _tensors(case), {}
    label = given["label"].long()
    for name, kind in _HEADS.items():
        if name not in case.config:
            continue
        head = build_head(kind, *given["kernel"].shape, scale=case.config[name]["s"], margin=case.config[name]["m"])
        head.kernel.data = given["kernel"].clone()
        embedding = given["embedding"].clone().requires_grad_()
        found[f"{name}_logits"] = head.logits(normalize(embedding), label)
        found[f"{name}_loss"] = head(normalize(embedding), label).mean()
        found[f"{name}_loss"].backward()
        found |= {f"{name}_grad_embedding": embedding.grad, f"{name}_grad_kernel": head.kernel.grad}
    return found


def retinaface(case):
    """The detector through the importer, its anchors, and what they decode to."""
    published = import_published({f"module.{name}": value for name, value in case.state_dict().items()})
    assert ("mobile" in case.config["network"].lower()) == (published.content.backbone == "mobile0.25")
    assert tuple(case.config["variance"]) == VARIANCE
    with torch.no_grad():
        output = published.content(_tensors(case)["image"])
    prior = anchors(*case.config["image_hw"])
    found = {name: value[0] for name, value in output._asdict().items()}
    return {
        **found,
        "prior": prior,
        "box": decode_boxes(found["loc"], prior),
        "point": decode_points(found["landmark"], prior),
    }


def aligned_face(case):
    """The best-scoring face of a frame, cut out as published, and what the network sees of it."""
    config, given = case.config, case.inputs()
    alignment = Alignment(config["crop"], tuple(map(tuple, config["template_xy"])))
    points = given["landmarks_xy"][int(np.argmax(given["score"]))]
    face = align(np.ascontiguousarray(given["image_bgr"][..., ::-1]), points, alignment, exact=True)
    size = case.spec["outputs"]["network_input"][-1]
    return {
        "face_bgr": face[..., ::-1].copy(),
        "network_input": network_input(face, size)[0],
        "detector_hw": published_size(*given["image_bgr"].shape[:2]),
    }


def swapped_face(case):
    """Masks of the four families of 68 points, morphology, colour transfer and the blend of the first mask."""
    given = case.inputs()
    points, size = given["landmarks_xy"], given["target_bgr"].shape[:2]
    found = {
        f"mask{entry.split()[0]}": masks.build(int(entry.split()[0]), points, size) for entry in case.config["masks"]
    }
    mask = found["mask0"]
    morphology = {"erode": masks.erode, "dilate": masks.dilate}
    for kernel, name in case.config["morphology"].items():
        found[f"morph_{kernel}"] = morphology[name](mask, int(kernel.removeprefix("k")))
    donor = colour.moved_mean(given["source_bgr"], given["target_bgr"], mask)
    weights = blending.feather(mask, case.config["feather"])
    return {
        **found,
        "color_transfer": donor,
        "blend_mask": weights,
        "blended": blending.blend(donor, given["target_bgr"], weights),
        "boundary_map": blending.boundary_map(weights),
    }


def degraded_picture(case):
    """Each degradation at its published setting, with the draws of the published generators."""
    picture, found = operations.prepared(case.inputs()["image_rgb"]), {}
    assert case.config["size"] == operations.SIDE == len(picture)
    room = operations.SIDE - 1 - operations.BLOCK
    for level in case.config["levels"]:
        kind, value = level.split("#")
        random.seed(0)
        drawn = np.random.RandomState(0)
        if kind == "BW":
            corners = [[random.randint(0, room), random.randint(0, room)] for _ in range(int(value))]
            degraded = operations.blocks(picture, np.array(corners))
        elif kind == "GNC":
            degraded = operations.noise(picture, float(value), drawn.randn(*picture.shape))
        elif kind in ("CS", "CC"):
            degraded = {"CS": operations.saturation, "CC": operations.contrast}[kind](picture, float(value))
        else:
            steps = {"GB": operations.blur, "JPEG": operations.pixelation, "REAL_JPEG": operations.jpeg}
            degraded = steps[kind](picture, int(value))
        found[f"{kind}_{value}"] = np.ascontiguousarray(degraded)
    return found


#: What only such a case has: an entry of its weights, an input or a setting.
SIGNS = (
    ("shapes", "outer_token", network),
    ("shapes", "fpn.output1.0.weight", retinaface),
    ("inputs", "reference_inner", reference_scores),
    ("inputs", "kernel", margins),
    ("config", "template_xy", aligned_face),
    ("config", "feather", swapped_face),
    ("config", "levels", degraded_picture),
)


def adapter_of(case):
    """The adapter of a case; a case that none is for fails."""
    for part, sign, adapter in SIGNS:
        if sign in (case.spec.get(part) or {}):
            return adapter
    raise AssertionError(f"no adapter for case {case.name} ({case.module})")
