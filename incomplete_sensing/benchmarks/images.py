"""MOI on patches of natural images, ours beside deepinv's Trainer: the same U-Net, weights, masks and number of steps.

    python benchmarks/images.py [--epochs 6] [--seeds 0 1 2]

Needs the extra `peer`. 765 grey patches of 32 x 32 through 20 masks that keep 30 % of the pixels; Adam, one thread. deepinv takes
one operator a batch and draws one other operator for all of it; ours mixes operators in a batch and draws another one for every
patch. The logging and the validation of both are switched off, CPU seconds are of the training alone.
"""

import argparse
import contextlib
import copy
import io
import tempfile
import time

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from incomplete_sensing.data.datamodule import MeasurementDataModule
from incomplete_sensing.lightning_module import ReconstructionModule
from incomplete_sensing.metrics import psnr
from incomplete_sensing.operators import OperatorOptions
from shared_utils.logging import table

OPERATORS, RATE = 20, 2e-3
NETWORK = {"name": "unet", "base_channels": 8, "levels": 3}


def ours(module, data, epochs):
    module.announce = False
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    return trainer.global_step


def theirs(network, data, epochs, folder):
    import deepinv

    family, (dataset, _, _) = data.family, data._fit
    physics = [deepinv.physics.Inpainting(family.image_shape, mask=mask) for mask in family.masks]
    batch = dataset[torch.arange(len(dataset))]
    loaders = []
    for g in range(OPERATORS):
        y = batch.measurements[batch.g == g]
        # It wants a truth beside y, which these losses do not read.
        loaders.append(DataLoader(TensorDataset(torch.zeros_like(y), y), len(y), shuffle=True))

    class Denoiser(torch.nn.Module):
        def forward(self, image, sigma=None, **parameters):
            return network(image)

    model = deepinv.models.ArtifactRemoval(Denoiser(), mode="pinv")
    trainer = deepinv.Trainer(
        model=model,
        physics=physics,
        optimizer=torch.optim.Adam(network.parameters(), RATE),
        train_dataloader=loaders,
        losses=[deepinv.loss.MCLoss(), deepinv.loss.MOILoss(physics)],
        epochs=epochs,
        optimizer_step_multi_dataset=False,
        metrics=[],
        compute_train_metrics=False,
        device="cpu",
        save_path=folder,
        ckp_interval=10**6,
        show_progress_bar=False,
        verbose=False,
    )
    trainer.train()
    return epochs * OPERATORS


@torch.no_grad()
def reached(network, data):
    network.eval()
    values = []
    for batch in data.test_dataloader():
        images = network(data.family.pinv(batch.measurements, batch.g))
        values.append(psnr(images, batch.truth))
    return float(torch.cat(values).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in arguments.seeds:
        pl.seed_everything(seed, verbose=False)
        operators = OperatorOptions("mask", OPERATORS, keep=0.3, exact_count=True)
        data = MeasurementDataModule(
            layout="patches", grey=True, operators=operators, seed=seed, batch_size=39, drop_last=False
        )
        data.train_dataloader()  # measured before the clock
        module = ReconstructionModule(data.family, network=NETWORK, learning_rate=RATE)
        network = copy.deepcopy(module.reconstructor.network)
        start = time.process_time()
        steps = ours(module, data, arguments.epochs)
        own = time.process_time() - start
        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            peer_steps = theirs(network, data, arguments.epochs, folder)
        other = time.process_time() - start
        rows.append(
            {
                "seed": seed,
                "steps, ours": steps,
                "deepinv": peer_steps,
                "CPU s, ours": own,
                "deepinv ": other,
                "deepinv over ours, a step": f"{other / peer_steps / (own / steps):.2f}",
                "PSNR, ours": f"{reached(module.reconstructor.network, data):.2f}",
                "PSNR, deepinv": f"{reached(network, data):.2f}",
            }
        )
        print(
            table(rows[-1:], f"MOI, 32 x 32 patches, {OPERATORS} masks of 30 %, {arguments.epochs} epochs:"), flush=True
        )


if __name__ == "__main__":
    main()
