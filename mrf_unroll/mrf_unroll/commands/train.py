"""Train an unrolled network from maps alone, and compare it with the classical methods."""

from pathlib import Path
from typing import Any

from shared_utils import cli


def classes() -> tuple[type, type]:
    """The LightningModule and the LightningDataModule."""
    from mrf_unroll.data.datamodule import FingerprintingDataModule
    from mrf_unroll.lightning_module import UnrolledModule

    return UnrolledModule, FingerprintingDataModule


def after(training: Any, folder: Path) -> None:
    """Train the baselines, draw the figures of a run and print its table."""
    from mrf_unroll import evaluation, figures
    from mrf_unroll.baselines import BaselineNetworks
    from mrf_unroll.precision import TISSUES_MS
    from mrf_unroll.pretrained import BASELINES

    baselines = [callback for callback in training.trainer.callbacks if isinstance(callback, BaselineNetworks)]
    for callback in baselines:
        callback.train_all(training.trainer, training.model, training.datamodule, folder / BASELINES)
    figures.training(folder / "figures" / "training.png", folder)
    figures.steps(folder / "figures" / "steps.png", folder)
    figures.fingerprints(folder / "figures" / "fingerprints.png", training.model.reconstructor, TISSUES_MS)
    # Without baselines no comparison was asked for, and tuning the classical methods takes long on large scans.
    print(evaluation.compare([folder], folder, None if baselines else ["svd_mrf", "unrolled"]))
    print(f"evaluate it: {cli.command('evaluate')} --ckpt {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    links = {"protocol": "protocol", "complex_valued": "complex_valued"}
    return cli.train(classes, argv, links=links, monitor=("val_error", "min"), after=after)
