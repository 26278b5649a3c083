"""Train an unrolled network: `python train.py --config` uses configs/default.yaml (procedural heads, CPU, minutes)."""

import sys
from pathlib import Path

from shared_utils import cli

DEFAULT = Path(__file__).parent / "configs" / "default.yaml"


def classes():
    from mrf_unroll.data.datamodule import FingerprintingDataModule
    from mrf_unroll.lightning_module import UnrolledModule

    return UnrolledModule, FingerprintingDataModule


def after(training, folder: Path) -> None:
    from mrf_unroll import evaluation, figures
    from mrf_unroll.comparison import RivalNetworks

    rivals = [callback for callback in training.trainer.callbacks if isinstance(callback, RivalNetworks)]
    for callback in rivals:
        callback.train_all(training.trainer, training.model, training.datamodule, folder / "rivals")
    figures.training(folder / "figures" / "training.png", folder)
    figures.steps(folder / "figures" / "steps.png", folder)
    tissues = {"white matter": (830.0, 75.0), "grey matter": (1350.0, 100.0), "fluid": (3500.0, 800.0)}
    figures.fingerprints(folder / "figures" / "fingerprints.png", training.model.reconstructor, tissues)
    # Without rivals nobody has asked for a comparison, and tuning the classical methods takes long on large scans.
    evaluation.compare([folder], folder, None if rivals else ["svd_mrf", "unrolled"])
    print(f"evaluate it: python evaluate.py --ckpt {folder}")


def main(argv: list[str] | None = None) -> int:
    links = {"protocol": "protocol", "complex_valued": "complex_valued"}
    return cli.train(classes, argv, default_config=DEFAULT, links=links, monitor=("val_error", "min"), after=after)


if __name__ == "__main__":
    sys.exit(main())
