"""Trainings of seconds: a street of few persons in tiny pictures."""

import pytorch_lightning as pl

from luperson_nl.data.pretraining import PretrainingData
from luperson_nl.lightning_module import PretrainingModule
from luperson_nl.pnl import Stages
from luperson_nl.recipes import Recipe

STREET = {"persons": 8, "cameras": 2, "clip": [2, 3]}
DATA = {"size": (32, 16), "padding": 2, "batch_size": 8, "street": STREET, "held": 6}
MODEL = {"trunk": "resnet_mini", "dim": 8, "cls_dim": 8, "queue_size": 24, "temperature": 0.1, "threshold": 0.2}
STAGES = Stages(instance=0, guided=1, prototypes=0, correction=0)

#: The same for the command line.
ARGUMENTS = [
    *("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "1", "--trainer.log_every_n_steps", "1"),
    *("--data.size", "[32, 16]", "--data.padding", "2", "--data.batch_size", "8", "--data.held", "6"),
    *("--data.street", '{"persons": 8, "cameras": 2, "clip": [2, 3]}'),
    *("--model.dim", "8", "--model.cls_dim", "8", "--model.queue_size", "24", "--model.threshold", "0.2"),
    *("--model.prototype_reset_epoch", "1", "--model.classifier_sharding", "partial_fc"),
    *("--model.stages", '{"instance": 0, "guided": 1, "prototypes": 0, "correction": 0}'),
    *("--trainer.logger.class_path", "CSVLogger", "--trainer.logger.init_args.save_dir", "runs/more"),
]


def data(**options):
    return PretrainingData(**{**DATA, **options})


def module(crops=None, **options):
    crops = crops or data()
    facts = {"num_classes": crops.num_classes, "size": crops.size, "mean": crops.mean, "std": crops.std}
    recipe = Recipe(learning_rate=0.05, warmup=0.5)
    return PretrainingModule(**{**MODEL, "stages": STAGES, "recipe": recipe, **facts, **options})


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings = {"accelerator": "cpu", "enable_model_summary": False, "num_sanity_val_steps": 0, "max_epochs": 1}
    return pl.Trainer(**{**quiet, **settings, **options})
