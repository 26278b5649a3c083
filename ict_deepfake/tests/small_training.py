"""Trainings of seconds: few parametric people in tiny pictures."""

import pytorch_lightning as pl

from ict_deepfake.data.module import FacesData
from ict_deepfake.lightning_module import Recipe, TrainingModule
from ict_deepfake.objective import Objective

PEOPLE = {"train": (8, 4), "validation": (3, 2), "test": (3, 2), "cache": None}
DATA = {"size": 16, "batch_size": 8, "population": PEOPLE}
NETWORK = {"patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2, "stem": "conv"}
OBJECTIVE = Objective(scale=8.0, margin=0.1)

#: The same for the command line.
ARGUMENTS = [
    *("--trainer.max_steps", "8", "--trainer.check_val_every_n_epoch", "1", "--trainer.log_every_n_steps", "1"),
    *(
        "--data.size",
        "16",
        "--data.batch_size",
        "8",
        "--model.embed_dim",
        "8",
        "--model.depth",
        "1",
        "--model.num_heads",
        "2",
    ),
    *("--data.population", '{"train": [8, 4], "validation": [3, 2], "test": [3, 2], "cache": null}'),
    *("--trainer.logger.class_path", "CSVLogger", "--trainer.logger.init_args.save_dir", "runs/more"),
]


def data(**options):
    return FacesData(**{**DATA, **options})


def module(faces, **options):
    facts = {"num_classes": faces.num_classes, "size": faces.size, "alignment": faces.alignment}
    return TrainingModule(**{**NETWORK, "objective": OBJECTIVE, "recipe": Recipe(rate=1e-3), **facts, **options})


def trainer(**options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    settings = {"accelerator": "cpu", "enable_model_summary": False, "num_sanity_val_steps": 0, "max_steps": 4}
    return pl.Trainer(**{**quiet, **settings, **options})
