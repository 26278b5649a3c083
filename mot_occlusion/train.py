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
    """Curves, and how much better people are recognised than before training."""
    import csv

    import torch

    from mot_occlusion import figures
    from mot_occlusion.ablation import rank1_of

    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    panels = {
        "detection losses": ["train_hm", "train_wh", "train_reg", "train_occlusion"],
        "re-ID loss and its terms": ["train_id", "train_id_intra", "train_id_inter", "train_id_cycle"],
        "validation": ["val_ap50", "val_rank1"],
    }
    figures.training(folder / "figures" / "training.png", rows, panels)
    # Outside of the trainer: only one process comes here.
    torch.manual_seed(0)
    untrained = type(training.model)(**{**training.model.hparams, "init": None, "train_only": None})
    pairs, place = training.datamodule.val_dataloader().dataset, torch.device("cpu")
    found = [rank1_of(module.network, pairs, place) for module in (untrained, training.model)]
    shares = [hits / max(1, queries) for (hits, queries), _ in found]
    print("rank-1 on unseen people: {:.3f} untrained, {:.3f} trained without identities".format(*shares))
    print(f"track with it: python track.py --source VIDEO --checkpoint {folder} --out runs/tracks")


def main(argv: list[str] | None = None) -> int:
    links = {"input_size": "input_size"}
    return cli.train(classes, argv, default_config=DEFAULT, links=links, monitor=("val_ap50", "max"), after=after)


if __name__ == "__main__":
    sys.exit(main())
