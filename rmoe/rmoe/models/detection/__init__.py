"""Mask R-CNN and Cascade Mask R-CNN on torchvision's parts, equal to the published models of OpenMMLab's layout.

What differs from torchvision's defaults, and where: anchors that are not rounded, on fixed strides (``anchors``);
RoIAlign with aligned corners and adaptive sampling, other levels (``roi``); L1 losses, 1,000 proposals of all levels
(``rpn``); the rounding of the resized sides and of pasted masks (``transform``); the class order (``rmoe.published``).
"""

from rmoe.models.detection.anchors import AnchorGenerator, BoxCoder
from rmoe.models.detection.cascade import CascadeRoIHeads, cascade_mask_rcnn
from rmoe.models.detection.fpn import FPN
from rmoe.models.detection.mask_rcnn import Detector, mask_rcnn
from rmoe.models.detection.roi import RoIHeads, RoIPooler
from rmoe.models.detection.rpn import RegionProposalNetwork
from rmoe.models.detection.transform import DetectionTransform, paste_masks, resized_sides

__all__ = [
    "FPN",
    "AnchorGenerator",
    "BoxCoder",
    "CascadeRoIHeads",
    "DetectionTransform",
    "Detector",
    "RegionProposalNetwork",
    "RoIHeads",
    "RoIPooler",
    "cascade_mask_rcnn",
    "mask_rcnn",
    "paste_masks",
    "resized_sides",
]
