"""Train the up-sampler of the defence DUP-Net."""

from pathlib import Path

from shared_utils import cli


def classes() -> tuple[type, type]:
    """What is trained, and on which data."""
    from si_adv.data.datamodule import PointCloudDataModule
    from si_adv.lightning_module import UpsamplingModule

    return UpsamplingModule, PointCloudDataModule


def after(training, folder: Path) -> None:
    """Write the up-sampler as the published code would, and say what to do with it."""
    from shared_utils import checkpoint
    from si_adv.published import export_published

    checkpoint.save(export_published(training.model.punet), folder / "punet.pth")
    print(f"use it: {cli.command('attack')} --defence dupnet --punet {folder / 'punet.pth'}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    links = {"num_points": "num_points"}
    return cli.train(
        classes, argv, default_config="punet.yaml", links=links, monitor=("val_chamfer", "min"), after=after
    )
