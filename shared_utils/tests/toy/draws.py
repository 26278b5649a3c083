"""Training that writes down what every process draws, for the tests of several processes."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, Dataset

from shared_utils import cli, distributed


class Noise(Dataset):
    """Every item is drawn when it is asked for, in the worker that serves it."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.rand(2)


class NoiseData(LightningDataModule):
    def __init__(self, num_workers: int = 0) -> None:
        super().__init__()
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Noise(), 2, num_workers=self.num_workers, persistent_workers=self.num_workers > 0)

    def val_dataloader(self) -> DataLoader:
        return self.train_dataloader()


class Draws(LightningModule):
    """Notes its first weights and every draw of an epoch: of torch, NumPy, Python and the data's workers."""

    def __init__(self, notes: str) -> None:
        super().__init__()
        self.notes = notes
        self.net = torch.nn.Linear(2, 1)

    def note(self, what: str, value) -> None:
        path = Path(self.notes)
        path.mkdir(exist_ok=True)
        with (path / f"{distributed.rank()}.jsonl").open("a") as file:
            file.write(json.dumps([self.current_epoch, what, value]) + "\n")

    def setup(self, stage: str) -> None:
        self.note("weights", self.net.weight.tolist())

    def training_step(self, batch, index):
        self.note("draws", [batch.tolist(), torch.rand(2).tolist(), np.random.rand(), random.random()])  # noqa: NPY002
        return self.net(batch + torch.randn_like(batch)).square().mean()

    def on_train_epoch_end(self) -> None:
        self.note("trained", self.net.weight.tolist())

    def validation_step(self, batch, index):
        self.log("val/loss", self.net(batch).mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def classes():
    return Draws, NoiseData


def main(argv=None) -> int:
    return cli.train(classes, argv, default_config="draws.yaml", monitor=("val/loss", "min"))


if __name__ == "__main__":
    sys.exit(main())
