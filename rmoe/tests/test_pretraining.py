"""The dense model that a training on the procedural default begins with."""

from types import SimpleNamespace

import pytorch_lightning as pl
import torch
from torch import nn

from rmoe.building import Mixture, converted, made_backbone
from rmoe.data.mosaic import Mosaic
from rmoe.moe import dense_state_dict
from rmoe.pretraining import DensePretraining


class Training(pl.LightningModule):
    def __init__(self, mixture):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Module()
        self.model.backbone = converted(made_backbone({"name": "mosaic_net", "hidden": 8}), mixture)


def test_the_dense_model_is_the_same_with_experts_and_without():
    trainer = SimpleNamespace(ckpt_path=None, datamodule=SimpleNamespace(mosaic=Mosaic(), root=None))
    dense = []
    for mixture in (None, Mixture(blocks=[[1]], experts=4)):
        training = Training(mixture)
        DensePretraining(steps=2, images=64).on_fit_start(trainer, training)
        dense.append(dense_state_dict(training.model.backbone))
    assert dense[0].keys() == dense[1].keys()
    assert all(torch.equal(value, dense[1][name]) for name, value in dense[0].items())
