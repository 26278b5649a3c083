"""Train a victim; without arguments on the embedded shapes, on a CPU, in two minutes."""

from pathlib import Path

from shared_utils import cli

LINKS = {name: name for name in ("num_classes", "class_names", "num_points", "with_normals")}


def classes() -> tuple[type, type]:
    """What is trained, and on which data."""
    from si_adv.data.datamodule import PointCloudDataModule
    from si_adv.lightning_module import VictimModule

    return VictimModule, PointCloudDataModule


def after(training, folder: Path) -> None:
    """Draw the curves of the training and say what to do with the victim."""
    from shared_utils.logging import read_metrics
    from si_adv import figures

    figures.training(folder / "figures" / "training.png", read_metrics(folder))
    print(f"attack it: {cli.command('attack')} --compare --ckpt {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.train(classes, argv, links=LINKS, monitor=("val_accuracy", "max"), after=after)
