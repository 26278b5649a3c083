"""Train the network: `python train.py --config` uses configs/default.yaml (procedural crowd, CPU, minutes)."""

import sys
from pathlib import Path

from shared_utils import cli

DEFAULT = Path(__file__).parent / "configs" / "default.yaml"


def classes():
    from mot_occlusion.data.datamodule import TrackingDataModule
    from mot_occlusion.lightning_module import TrackingModule

    return TrackingModule, TrackingDataModule


def after(training, folder: Path) -> None:
    from mot_occlusion.reports import after_training

    after_training(training, folder)
    print(f"track with it: python track.py --source VIDEO --checkpoint {folder} --out runs/tracks")


def main(argv: list[str] | None = None) -> int:
    links = {"input_size": "input_size"}
    return cli.train(classes, argv, default_config=DEFAULT, links=links, monitor=("val_ap50", "max"), after=after)


if __name__ == "__main__":
    sys.exit(main())
