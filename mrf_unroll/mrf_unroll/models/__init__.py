"""Networks: functions of tensors, nothing of Lightning."""

from mrf_unroll.models.bloch import BlochDecoder
from mrf_unroll.models.dictionary_encoder import DictionaryEncoder
from mrf_unroll.models.encoders import ENCODERS, Denoiser, DnCNN, MRFResNet, ResNet, UNet, build_encoder
from mrf_unroll.models.unrolled import Iterates, UnrolledNetwork

__all__ = [
    "ENCODERS",
    "BlochDecoder",
    "Denoiser",
    "DictionaryEncoder",
    "DnCNN",
    "Iterates",
    "MRFResNet",
    "ResNet",
    "UNet",
    "UnrolledNetwork",
    "build_encoder",
]
