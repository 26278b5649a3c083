"""Backbones and classifiers, one architecture a file, under the entry names of the published checkpoints."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from rmoe.models import cvt, swin
from rmoe.models.cvt import CvTBackbone, CvTClassifier, QuickGELU
from rmoe.models.maps import Backbone
from rmoe.models.swin import SwinBackbone, SwinClassifier
from rmoe.models.swin_moe import SwinMoE
from shared_utils import UserError

S = TypeVar("S", bound=nn.Module)
C = TypeVar("C", bound=nn.Module)
NAMES = (*swin.VARIANTS, *cvt.VARIANTS)


def backbone(name: str, **options: Any) -> Backbone:
    """A dense-prediction backbone by name: ``swin_t``, ``swin_s``, ``swin_b``, ``swin_l``, ``cvt_13``.

    It maps images (B, 3, H, W) to a list of maps and has ``channels`` and ``strides``. ``options`` change its arguments.
    """
    return _made(name, SwinBackbone, CvTBackbone, options)


def classifier(name: str, **options: Any) -> nn.Module:
    """A classifier by name (see ``backbone``); ``options``: num_classes, image_size (Swin), ..."""
    return _made(name, SwinClassifier, CvTClassifier, options)


def _made(name: str, of_swin: type[S], of_cvt: type[C], options: dict[str, Any]) -> S | C:
    if name in swin.VARIANTS:
        return of_swin(**{**swin.VARIANTS[name], **options})
    if name in cvt.VARIANTS:
        return of_cvt(**{**cvt.VARIANTS[name], **options})
    raise UserError(f"the model {name!r} is unknown: choose of {', '.join(NAMES)}")


__all__ = [
    "NAMES",
    "Backbone",
    "CvTBackbone",
    "CvTClassifier",
    "QuickGELU",
    "SwinBackbone",
    "SwinClassifier",
    "SwinMoE",
    "backbone",
    "classifier",
]
