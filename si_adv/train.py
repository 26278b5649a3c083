"""Train a victim: `python train.py --config` uses configs/default.yaml (embedded shapes, CPU, two minutes)."""

import sys
from pathlib import Path

from shared_utils import cli

DEFAULT = Path(__file__).parent / "configs" / "default.yaml"


def classes():
    from si_adv.data.datamodule import PointCloudDataModule
    from si_adv.lightning_module import VictimModule

    return VictimModule, PointCloudDataModule


def after(training, folder: Path) -> None:
    from si_adv import figures, jobs

    figures.training(folder / "figures" / "training.png", jobs.read_metrics(folder / "metrics.csv"))
    print(f"attack it: python attack.py --compare --ckpt {folder}")


def main(argv: list[str] | None = None) -> int:
    links = {name: name for name in ("num_classes", "class_names", "num_points", "with_normals")}
    return cli.train(classes, argv, default_config=DEFAULT, links=links, monitor=("val_accuracy", "max"), after=after)


if __name__ == "__main__":
    sys.exit(main())
