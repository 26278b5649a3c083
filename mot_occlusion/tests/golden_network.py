"""Golden cases of the network, its losses, targets and decoding: one adapter a published module."""

import numpy as np
import torch

from mot_occlusion.data.transforms import Affine, warp_boxes, warp_image
from mot_occlusion.decode import Letterbox, decode_boxes, decode_occlusions
from mot_occlusion.losses import TrackingLoss, UnsupervisedReIDLoss
from mot_occlusion.models.deform import DCN
from mot_occlusion.published import import_network
from mot_occlusion.targets import detection_targets
from shared_utils.checkpoint import import_state_dict


def run_dcn(case):
    config = {name: case.config[name] for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding")}
    layer = DCN(**config)
    import_state_dict(layer, case.state_dict())
    x = torch.from_numpy(case.inputs()["x"])
    with torch.no_grad():
        return {"y": layer(x), "offset_mask": layer.conv_offset_mask(x)}


def run_dla(case):
    """Heads, and whatever maps of the trunk the case names."""
    network, report = import_network(case.state_dict())
    assert {name: network.heads[name] for name in case.config["heads"]} == case.config["heads"]
    assert set(report.initialised) == set(network.heads) - set(case.config["heads"])
    network.train(case.spec["mode"] == "train")
    image = torch.from_numpy(case.inputs()["image"])
    levels, ups, features = [], [], []
    network.base.register_forward_hook(lambda module, given, found: levels.extend(found))
    network.dla_up.register_forward_hook(lambda module, given, found: ups.extend(found))
    network.ida_up.register_forward_hook(lambda module, given, found: features.extend(found))
    with torch.no_grad():
        out = network(image)
    out |= {f"base.level{number}": level for number, level in enumerate(levels)}
    return out | {f"dla_up.{number}": up for number, up in enumerate(ups)} | {"feature": features[-1]}


def _targets(labels, config, thr=0.7):
    size = (config["input_h"] // config.get("down_ratio", 4), config["input_w"] // config.get("down_ratio", 4))
    found = detection_targets(labels[:, 2:6], size, config["max_objs"], config.get("occlusion_iou_thr", thr))
    found["ids"] = np.zeros(config["max_objs"], np.int64)
    used = np.flatnonzero(found["reg_mask"])
    found["ids"][used] = labels[found["kept"][used], 1]
    return found


def run_targets(case):
    return _targets(case.inputs()["labels"], case.config)


_TERMS = {"loss_intra": "intra", "loss_inter": "inter", "loss_cycle": "cycle", "loss_cons": "cycle"}


def _reid_loss(margin, placeholder, temperature, epsilon, names):
    terms = tuple(_TERMS[name] for name in names) or ("intra", "inter", "cycle")
    return UnsupervisedReIDLoss(margin, placeholder, epsilon, temperature, terms)


def run_unsup_reid_loss(case):
    out = {}
    for name, config in case.config.items():
        cur, pre = (torch.from_numpy(case.stored[f"{name}.{side}"]).requires_grad_() for side in ("cur", "pre"))
        masks = [torch.from_numpy(case.stored[f"{name}.mask_{side}"]).bool() for side in ("cur", "pre")]
        sides = [[rows[mask] for rows, mask in zip(x, m, strict=True)] for x, m in zip((cur, pre), masks, strict=True)]
        loss = _reid_loss(
            config.get("margin", 0.5),
            config.get("place_holder", "mean"),
            config.get("temperature"),
            config.get("temperature_epsilon", 0.5),
            config.get("loss_names", ()),
        )
        result = loss(*sides, [config["negative"]] * len(cur))
        result["loss"].backward()
        counted = {
            term: result[term] if term in loss.terms else torch.zeros(()) for term in ("intra", "inter", "cycle")
        }
        out |= {
            f"{name}.id_loss": result["loss"][None],
            f"{name}.id_loss_intra": counted["intra"][None],
            f"{name}.id_loss_inter": counted["inter"][None],
            f"{name}.id_loss_cons": counted["cycle"][None],
            f"{name}.id_samples": result["num_objects"][None],
            f"{name}.sim_mean": result["similarities"].mean()[None],
            f"{name}.grad_cur": cur.grad,
            f"{name}.grad_pre": pre.grad,
        }
    return out


def run_mot_loss(case):
    config = case.config
    heads = ("hm", "wh", "reg", "id", "occlusion", "occlusion_offset")
    inputs = case.inputs()
    maps = {name: torch.from_numpy(inputs[name]).requires_grad_() for name in (*heads, "id_pre") if name in inputs}
    batch = len(maps["hm"])
    current, previous = (
        {
            name: torch.stack([torch.from_numpy(frame[name]) for frame in frames])
            for name in frames[0]
            if name not in ("kept", "ids")
        }
        for frames in (
            [_targets(case.stored[f"{side}_{index}"], config) for index in range(batch)]
            for side in ("labels", "labels_pre")
        )
    )
    reid = None
    if not config["not_reid"]:
        reid = _reid_loss(
            config["reid_cycle_loss_margin"],
            config["reid_cycle_loss_placeholder"],
            config["reid_cycle_loss_temperature"],
            config["reid_cycle_loss_temperature_epsilon"],
            config["reid_cycle_loss_names"],
        )
    weights = {
        "hm": config["hm_weight"],
        "wh": config["wh_weight"],
        "reg": config["off_weight"],
        "occlusion": config["occlusion_weight"],
        "occlusion_offset": config["occlusion_off_weight"],
    }
    loss = TrackingLoss(reid, config["id_weight"], weights)
    torch.nn.init.constant_(loss.s_det, config["det_uncertainty"])
    torch.nn.init.constant_(loss.s_id, config["id_uncertainty"])
    used = {name: maps[name] for name in heads if name in maps}
    if not config["occlusion"]:
        used.pop("occlusion", None)
    if not config["occlusion_offset"]:
        used.pop("occlusion_offset", None)
    if not config["reg_offset"]:
        used.pop("reg", None)
    result = loss(used, current, {"id": maps["id_pre"]}, previous)
    result["loss"].sum().backward()
    zero = torch.zeros(1)
    similarities = result.get("similarities", zero)
    parts = {
        "loss": "loss",
        "hm_loss": "hm",
        "wh_loss": "wh",
        "off_loss": "reg",
        "occ_loss": "occlusion",
        "occ_off_loss": "occlusion_offset",
        "id_loss": "id",
        "id_loss_intra": "id_intra",
        "id_loss_inter": "id_inter",
        "id_loss_cons": "id_cycle",
        "id_samples": "id_num_objects",
    }
    out = {theirs: result.get(ours, zero).reshape(1) for theirs, ours in parts.items()}
    for name in ("mean", "median", "max", "min", "var", "std"):
        out[f"sim_{name}"] = getattr(similarities, name)().reshape(1)
    for name, value in {**maps, "s_det": loss.s_det, "s_id": loss.s_id}.items():
        out[f"grad_{name}"] = torch.zeros_like(value) if value.grad is None else value.grad
    return out | {"det_weight": loss.s_det, "id_weight": loss.s_id}


def run_decode(case):
    config, inputs = case.config, {name: torch.from_numpy(value) for name, value in case.inputs().items()}
    decoded = decode_boxes(inputs["hm"], inputs["wh"], inputs["reg"], config["K"])
    plain = decode_boxes(inputs["hm"], inputs["wh"], None, config["K"])
    centres, scores = decode_occlusions(inputs["occ_hm"], inputs["occ_off"], config["K"])
    map_size = tuple(inputs["hm"].shape[2:])
    ratio = config.get("down_ratio", 4)
    letterbox = Letterbox.of(
        (config["image_height"], config["image_width"]), (map_size[0] * ratio, map_size[1] * ratio)
    )

    def join(*parts):
        return torch.cat([part if part.dim() == 3 else part[..., None].float() for part in parts], 2)

    def on_image(points, scores):
        moved = torch.from_numpy(letterbox.cells_to_image(points.numpy(), map_size))
        return join(moved, scores)

    return {
        "dets": join(*decoded[:3]),
        "inds": decoded.cells,
        "dets_noreg": join(*plain[:3]),
        "occ": join(centres, scores, torch.zeros_like(scores)),
        "image_dets": on_image(decoded.boxes, decoded.scores),
        "image_occ": on_image(centres, scores),
    }


def run_letterbox_affine(case):
    config, inputs = case.config, case.inputs()
    size = (config["net_h"], config["net_w"])
    out, uint8 = {}, lambda image: np.clip(image, 0, 255).astype(np.uint8)
    for name, expected in config["letterbox"].items():
        box = Letterbox.of((expected["h"], expected["w"]), size)
        assert np.allclose((box.ratio, box.left, box.top), (expected["ratio"], expected["padw"], expected["padh"]))
        out[name] = box(uint8(inputs[name]))
    affine = config["affine"]
    matrix = Affine(
        affine["angle"],
        affine["scale"],
        affine["translation02"],
        affine["translation12"],
        affine["shear01"],
        affine["shear10"],
    ).matrix(size)
    labels = inputs["boxes"]
    boxes, rows = warp_boxes(labels[:, 2:6], matrix, affine["angle"])
    out["affine.boxes"] = np.concatenate((labels[rows, :2], boxes), 1)
    out["affine.image"] = warp_image(uint8(inputs["warp image"]), matrix)
    return out, {"tolerances": {"affine.boxes": 1e-4}}


ADAPTERS = {
    "DCNv2 DCN (deformable_groups=1, 3x3, stride 1, padding 1), "
    "forward computed with the published CPU im2col kernel": run_dcn,
    "models.networks.pose_dla_dcn.get_pose_net(34, heads, head_conv=256) "
    "(DLA-34, deformable convs in DLAUp/IDAUp), eval mode": run_dla,
    "JointDataset.gen_target (FairMOT targets) + gen_occlusion_target": run_targets,
    "models.losses.CycleLoss.forward (unsupervised re-ID loss), several settings": run_unsup_reid_loss,
    "trains.mot.MotLoss.forward on one stack "
    "(hm focal, ltrb/offset/occlusion-offset L1, unsupervised re-ID, uncertainty weighting)": run_mot_loss,
    "models.decode.mot_decode / mot_occlusion_decode then "
    "utils.post_process.ctdet_post_process / occlusion_post_process": run_decode,
    "datasets.dataset.jde_json.letterbox and "
    "random_affine(degrees=(-5,5), translate=(.1,.1), scale=(.5,1.2), shear=(-2,2))": run_letterbox_affine,
}
