"""Train the network, by default on the procedural crowd: minutes on a CPU."""

from pathlib import Path

from shared_utils import cli


def classes() -> tuple[type, type]:
    """What is trained, and on what."""
    from mot_occlusion.data.datamodule import TrackingDataModule
    from mot_occlusion.lightning_module import TrackingModule

    return TrackingModule, TrackingDataModule


def after(training, folder: Path) -> None:
    """Curves, and how much better people are recognised than before training."""
    from mot_occlusion import figures
    from mot_occlusion.evaluation.recognition import compare_with_untrained
    from shared_utils.logging import read_metrics

    rows = read_metrics(folder)
    if rows:
        figures.training(folder / "figures" / "training.png", rows)
    pairs = training.datamodule.val_dataloader().dataset
    shares = compare_with_untrained(training.model, pairs)
    print("rank-1 on unseen people: {:.3f} untrained, {:.3f} trained without identities".format(*shares))
    print(f"track with it: {cli.command('track')} --source VIDEO --ckpt {folder} --out runs/tracks")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.train(classes, argv, links={"input_size": "input_size"}, monitor=("val_ap50", "max"), after=after)
