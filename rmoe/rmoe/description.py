"""What a model is made of, as plain values, and the model made from them: what every kind of file is read into.

``network`` has the keys that training writes into its checkpoints: ``task`` (segmentation, detection, classification,
backbone), ``backbone`` ({name, options}), ``num_classes``, ``class_names``, then ``head``, ``head_channels``,
``auxiliary_head``, or ``detector``, ``detector_options``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from rmoe.building import made_backbone, made_classifier
from rmoe.models import SwinMoE
from rmoe.models.detection import cascade_mask_rcnn, mask_rcnn
from rmoe.models.mosaic_net import LinearHead, PooledClassifier
from rmoe.models.segmenter import Segmenter, upernet
from rmoe.moe import apply_description, describe, moe_layers
from shared_utils import UserError

TASKS = ("segmentation", "detection", "classification", "backbone")


@dataclass(frozen=True)
class Description:
    """Everything but the weights.

    Args:
        network: see the module.
        experts: ``rmoe.moe.describe(model)``: which layers are mixtures, and how; None: none.
        mosaic: of a model that was trained on the procedural default, what that draws (its rules follow from its seed).
    """

    network: dict[str, Any]
    experts: dict[str, Any] | None = None
    mosaic: dict[str, Any] | None = field(default=None)

    @property
    def task(self) -> str:
        """One of ``TASKS``."""
        return self.network["task"]

    @property
    def architecture(self) -> str:
        """The backbone's name: ``swin_t``, ``cvt_13``, ``swin_moe``, ``mosaic_net``, ..."""
        return self.network["backbone"]["name"]

    @property
    def class_names(self) -> list[str]:
        """In the order of the labels; numbers where the file names none. Of several heads, those of the last."""
        count = self.network["num_classes"]
        count = count if isinstance(count, int) else count[-1]
        names = self.network.get("class_names")
        return [f"class {number}" for number in range(count)] if names is None else list(names)

    def plain(self) -> dict[str, Any]:
        """For a file."""
        made = {"network": self.network, "rmoe": self.experts}
        return made if self.mosaic is None else {**made, "mosaic": self.mosaic}

    @classmethod
    def read(cls, content: Any, source: str) -> Description:
        """Of a file's content.

        Raises:
            UserError: it describes no model.
        """
        network = content.get("network") if isinstance(content, Mapping) else None
        if not isinstance(network, Mapping) or network.get("task") not in TASKS or "backbone" not in network:
            raise UserError(f"{source} describes no model of this project (no network with a task): export it again")
        experts = content.get("rmoe")
        return cls(dict(network), experts if experts and experts.get("layers") else None, content.get("mosaic"))


def build(description: Description, source: str = "the file") -> nn.Module:
    """The model, with fresh weights, its mixtures in place.

    Raises:
        UserError: the description does not make one.
    """
    try:
        model = _dense(description)
        if description.experts is not None:
            apply_description(model, description.experts)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{source} describes a model that cannot be made ({type(error).__name__}: {error})") from error
    return model


def _dense(description: Description) -> nn.Module:
    network, backbone = description.network, dict(description.network["backbone"])
    if description.task == "classification":
        counts = network["num_classes"]
        counts = [counts] if isinstance(counts, int) else list(counts)
        if backbone["name"] == "mosaic_net":
            return PooledClassifier(made_backbone(backbone), counts)
        if backbone.pop("name") == "swin_moe":
            return SwinMoE(num_classes=counts[0], **backbone)
        return made_classifier({**network["backbone"], "num_classes": counts[0]})
    net = made_backbone(backbone)
    if description.task == "backbone":
        return net
    if description.task == "detection":
        make = {"mask_rcnn": mask_rcnn, "cascade_mask_rcnn": cascade_mask_rcnn}[network["detector"]]
        return make(net, network["num_classes"], **network["detector_options"])
    if network["head"] == "linear":
        return Segmenter(net, LinearHead(net.channels, network["num_classes"]))
    width = network["head_channels"]
    auxiliary = network.get("auxiliary_channels", width // 2)
    return upernet(net, network["num_classes"], width, auxiliary, network["auxiliary_head"])


def experts_of(model: nn.Module) -> dict[str, Any] | None:
    """What ``Description.experts`` is of a model; Swin-MoE has its mixtures from its constructor."""
    whole = isinstance(model, SwinMoE) and all(layer.param == "merged" for _, layer in moe_layers(model))
    found = describe(model)
    return None if whole or not found["layers"] else found
