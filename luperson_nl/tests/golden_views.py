"""Adapter of the cases of test-time views."""

from luperson_nl.models.statistics import STATISTICS
from luperson_nl.pretrained import test_view


def views(case):
    """The view of pre-training, normalised, and that of fine-tuning in 0..255; other sizes stand in the names."""
    config, image = case.config, case.inputs()["image"]
    # The published table calls something imagenet that is not ImageNet's.
    name = {"imagenet": "imagenet_person"}.get(config["mean_type"], config["mean_type"])
    ours = {"pnl": test_view(image, (config["height"], config["width"]), *STATISTICS[name])}
    for output, shape in case.spec["outputs"].items():
        if output.startswith("finetune"):
            ours[output] = 255 * test_view(image, (shape[1], shape[2]), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return ours


ADAPTERS = {
    "transform": views,
    "PNL/libs/transform.py get_reid_test_transformer; fork: Resize + ToTensor of the fine-tuning test pipeline": views,
}
