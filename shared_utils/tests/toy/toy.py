"""The toy project's data and model: shuffled batches and dropout, so that a resumed run depends on the generators."""

import time
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset


class Points(LightningDataModule):
    def __init__(self, num_points: int = 64, batch_size: int = 8) -> None:
        super().__init__()
        self.num_features = 3
        inputs = torch.randn(num_points, 3, generator=torch.Generator().manual_seed(0))
        self.data = TensorDataset(inputs, inputs @ torch.tensor([[1.0], [2.0], [3.0]]))
        self.batch_size = batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.data, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.data, self.batch_size)


class Line(LightningModule):
    def __init__(self, num_features: int, learning_rate: float = 0.01, width: int = 1, hold: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(num_features, width))

    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self.net(batch[0]).mean(1, keepdim=True), batch[1])

    def on_train_epoch_start(self) -> None:
        """``hold``: stay at the beginning of the third epoch until a signal comes, and let the file ``holding`` say so."""
        if self.hparams.hold and self.current_epoch == 2:
            Path("holding").touch()
            time.sleep(3600)

    def validation_step(self, batch, index):
        self.log("val/loss", torch.nn.functional.mse_loss(self.net(batch[0]).mean(1, keepdim=True), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.hparams.learning_rate)
