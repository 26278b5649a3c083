"""Small models in every layout that exists on disk, and small data, for several test files."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rmoe.building import made_backbone
from rmoe.description import Description, build
from rmoe.models import CvTClassifier, SwinBackbone, SwinClassifier, SwinMoE
from rmoe.models.detection import cascade_mask_rcnn, mask_rcnn
from rmoe.models.segmenter import upernet
from rmoe.moe import convert, describe
from rmoe.predictors import predictor
from rmoe.published import export_swin_moe, to_theirs
from rmoe.published.detection import export_detector
from rmoe.published.segmentation import export_segmenter

SMALL = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 1, 2, 2), "window": 2}
MOE = {**SMALL, "window": 12, "num_classes": 5, "image_size": 64, "moe_blocks": ((), (), (1,), (1,)), "experts": 4}
MOSAIC = {"task": "segmentation", "backbone": {"name": "mosaic_net"}, "head": "linear", "num_classes": 8}


def swin_classifier():
    return SwinClassifier(5, 64, **SMALL)


def small_upernet():
    return upernet(SwinBackbone(**SMALL), 6, 16, 8)


def small_detector(make=mask_rcnn):
    return make(SwinBackbone(**SMALL), 3, 16, 32)


def mosaic_predictor(experts=4, **backbone):
    """The procedural default's network, its last block converted where there are experts, its residuals drawn."""
    description = Description({**MOSAIC, "backbone": {"name": "mosaic_net", **backbone}}, None, {"seed": 3})
    model = build(description)
    if experts:
        convert(
            model.backbone,
            f"blocks.{len(model.backbone.blocks) - 1}.mlp",
            experts=experts,
            router_init_std=1.0,
            residual_init="noise:0.5",
        )
    return predictor(model, Description(description.network, describe(model) if experts else None, {"seed": 3}))


def released(kind, path):
    """Write a released file of a kind; the file, and the model that is in it."""
    path = Path(path)
    if kind in ("swin", "timm", "openmmlab"):
        model = swin_classifier()
        content = {"model": to_theirs(model.state_dict(), kind)}
    elif kind == "cvt":
        model = CvTClassifier(5, dims=(64, 64, 128), num_heads=(1, 1, 2), depths=(1, 1, 2))
        content = model.state_dict()
    elif kind == "upernet":
        model = small_upernet()
        content = export_segmenter(model, classes=list("abcdef"))
    elif kind in ("mask_rcnn", "cascade_mask_rcnn"):
        model = small_detector(mask_rcnn if kind == "mask_rcnn" else cascade_mask_rcnn)
        content = export_detector(model, classes=["a", "b", "c"])
    elif kind == "backbone":
        model = made_backbone({"name": "swin_t", **SMALL})
        content = {"state_dict": {f"backbone.{name}": value for name, value in model.state_dict().items()}}
    elif kind == "swin_moe":
        model = SwinMoE(**MOE)
        for rank, state in enumerate(export_swin_moe(model, 2)):
            torch.save({"model": state}, f"{path}.rank{rank}")
        return path, model.eval()
    torch.save(content, path)
    return path, model.eval()


def picture(path, height=48, width=64, seed=0):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pairs(root, count=4, classes=6, highest=None, size=64):
    """A folder of image and mask pairs, train and val, with its class list."""
    root = Path(root)
    for split in ("train", "val"):
        for number in range(count):
            picture(root / split / "images" / f"{number}.png", size, size, number)
            mask = np.random.default_rng(number).integers(0, classes, (size // 8, size // 8)).repeat(8, 0).repeat(8, 1)
            if highest is not None:
                mask[0, 0] = highest
            (root / split / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask.astype(np.uint8)).save(root / split / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("\n".join("abcdefgh"[:classes]))
    return root


def coco(root, crowd=0, **left_out):
    """A COCO folder of one image and one object a split; ``left_out``: keys of the json that are missing."""
    root = Path(root)
    for split in ("train2017", "val2017"):
        picture(root / split / "1.png")
        box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [8, 8, 16, 16], "area": 256, "iscrowd": crowd}
        box["segmentation"] = {"size": [48, 64], "counts": [8 * 48 + 8, 16, 64 * 48 - 8 * 48 - 24]}
        content = {
            "images": [{"id": 1, "file_name": "1.png", "height": 48, "width": 64}],
            "annotations": [box],
            "categories": [{"id": number, "name": f"thing {number}"} for number in (3, 7, 9)],
        }
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({key: value for key, value in content.items() if key not in left_out}))
    return root
