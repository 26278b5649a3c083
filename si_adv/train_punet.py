"""Train the up-sampler of the defence DUP-Net: `python train_punet.py --config` uses configs/punet.yaml."""

import sys
from pathlib import Path

from shared_utils import cli

DEFAULT = Path(__file__).parent / "configs" / "punet.yaml"


def classes():
    from si_adv.data.datamodule import PointCloudDataModule
    from si_adv.lightning_module import UpsamplingModule

    return UpsamplingModule, PointCloudDataModule


def after(training, folder: Path) -> None:
    from shared_utils import checkpoint
    from si_adv.published import export_published

    checkpoint.save(export_published(training.model.punet), folder / "punet.pth")
    print(f"use it: python attack.py --defence dupnet --punet {folder / 'punet.pth'}")


def main(argv: list[str] | None = None) -> int:
    links = {"num_points": "num_points"}
    return cli.train(classes, argv, default_config=DEFAULT, links=links, monitor=("val_chamfer", "min"), after=after)


if __name__ == "__main__":
    sys.exit(main())
