"""The networks that an unrolled one is compared with, trained on the same data and kept beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from mrf_unroll.data.datamodule import FingerprintingDataModule
from mrf_unroll.fitting import fit_denoiser, fit_mrfresnet
from mrf_unroll.lightning_module import UnrolledModule
from mrf_unroll.models import Denoiser, MRFResNet
from mrf_unroll.pretrained import load
from shared_utils import files
from shared_utils.callbacks import DurableCheckpointIO

log = logging.getLogger(__name__)


class BaselineNetworks(pl.Callback):
    """Networks that are trained after a run (``train_all``) on its data, from its decoder, and kept in ``baselines/`` there.

    Args:
        networks: name -> changed arguments of ``UnrolledModule``, with ``epochs`` where they differ. The rest is as
            in the run.
        mrfresnet_steps, denoiser_steps: of the two networks that classical methods use, trained on atoms and time
            series (real data only); 0 leaves one out.
    """

    def __init__(
        self, networks: dict[str, dict[str, Any]], mrfresnet_steps: int = 2000, denoiser_steps: int = 600
    ) -> None:
        self.networks, self.mrfresnet_steps, self.denoiser_steps = networks, mrfresnet_steps, denoiser_steps

    def train_all(
        self, trainer: pl.Trainer, module: UnrolledModule, data: FingerprintingDataModule, folder: Path
    ) -> None:
        """Train them all, on one process."""
        if trainer.world_size > 1:
            log.warning("baselines are trained on one process only: run without torchrun for the comparison")
            return
        for name, changes in self.networks.items():
            log.info("training %s", name)
            train_baseline(module, data, changes, trainer, folder / name)
        if data.complex_valued:
            return
        if self.mrfresnet_steps:
            fit_voxelwise(data, self.mrfresnet_steps).save_pretrained(folder / "mrfresnet")
            files.write_json({"steps": self.mrfresnet_steps}, folder / "mrfresnet" / "training.json")
        if self.denoiser_steps:
            fit_prior(data, self.denoiser_steps).save_pretrained(folder / "denoiser")
            files.write_json({"steps": self.denoiser_steps}, folder / "denoiser" / "training.json")


def train_baseline(
    module: UnrolledModule,
    data: FingerprintingDataModule,
    changes: Mapping[str, Any],
    trainer: pl.Trainer,
    folder: Path,
) -> None:
    """Train one network as ``trainer`` has trained ``module``; a folder of ``Reconstructor`` with its metrics."""
    changes = dict(changes)
    epochs = changes.pop("epochs", trainer.max_epochs)
    baseline = UnrolledModule(data.protocol, **{**module.options, **changes})
    baseline.prepare(data.training, module.reconstructor.network.decoder)
    best = ModelCheckpoint(folder / "checkpoints", monitor="val_error", filename="best", enable_version_counter=False)
    own = pl.Trainer(
        max_epochs=epochs,
        accelerator=trainer.accelerator.__class__.name() if hasattr(trainer.accelerator, "name") else "auto",
        devices=1,
        gradient_clip_val=trainer.gradient_clip_val,
        precision=trainer.precision,
        logger=CSVLogger(str(folder.parent), name=folder.name, version=""),
        callbacks=[best],
        plugins=[DurableCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=getattr(trainer, "log_every_n_steps", 50),
    )
    own.fit(baseline, datamodule=data)
    load(best.best_model_path).save_pretrained(folder)
    files.write_json({"epochs": epochs, "steps": own.global_step}, folder / "training.json")


def fit_voxelwise(data: FingerprintingDataModule, steps: int) -> MRFResNet:
    """MRF-ResNet on the protocol's atoms, with noise of up to 30 % of their norm, about what low-rank inversion leaves."""
    dictionary = data.protocol.dictionary
    network = MRFResNet(data.protocol.options.rank)
    relaxation = torch.as_tensor(dictionary.lut_ms).float() / 1000
    fit_mrfresnet(network, torch.as_tensor(dictionary.atoms).float(), relaxation, noise=0.3, steps=steps)
    return network


def fit_prior(data: FingerprintingDataModule, steps: int) -> Denoiser:
    """A denoiser of the training slices' time series, in units of their root mean square over voxels."""
    series = data.training.tsmi
    unit = series.square().sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True).sqrt()
    denoiser = Denoiser(series.shape[1], hidden=32, depth=5)
    fit_denoiser(denoiser, series / unit, noise=0.3, steps=steps)
    return denoiser
