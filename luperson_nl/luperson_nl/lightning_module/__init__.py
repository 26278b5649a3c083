"""Training of pre-training and of fine-tuning. Wiring only."""

from luperson_nl.lightning_module.finetuning import FinetuningModule
from luperson_nl.lightning_module.pretraining import PretrainingModule
from luperson_nl.lightning_module.trained import Trained, check_retrieval, retrieved

__all__ = ["FinetuningModule", "PretrainingModule", "Trained", "check_retrieval", "retrieved"]
