"""Trainings of seconds: few procedural mouths of 16 pixels, networks of a few channels."""

import pytorch_lightning as pl

from av_deepfake.data.detection import DetectionData
from av_deepfake.data.pretraining import TalkingData
from av_deepfake.lightning_module import Detection, Pretraining

ENCODER = {"dim": 8, "depth": 1, "heads": 2, "mlp": 16, "dropout": 0.1}
VIDEO = {"channels": 8, "widths": [8, 16], "blocks": [1, 1], **ENCODER}
AUDIO = {"widths": [8, 16], "blocks": [1, 1], **ENCODER}
TALKING = {
    "size": 16,
    "batch_size": 8,
    "speakers": 8,
    "per_speaker": 3,
    "galleries": [8, 8],
    "cache": None,
    "shifted": 1,
}
FORGED = {"size": 16, "batch_size": 8, "per_class": 8, "held_per_class": 4, "cache": None}


def talking(**options):
    return TalkingData(**{**TALKING, **options})


def forged(**options):
    return DetectionData(**{**FORGED, **options})


def pretraining(data, **options):
    facts = {"preprocessing": data.preprocessing, "training": data.training}
    return Pretraining(**{"video": VIDEO, "audio": AUDIO, "projection": 8, "collapse": 0.0, **facts, **options})


def detection(data, **options):
    facts = {"preprocessing": data.preprocessing, "training": data.training, "prior": data.prior}
    return Detection(**{"weights": None, "video": VIDEO, **facts, **options})


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings = {"accelerator": "cpu", "enable_model_summary": False, "num_sanity_val_steps": 0, "max_steps": 4}
    return pl.Trainer(**{**quiet, **settings, **options})
