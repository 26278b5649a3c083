"""Train the autoencoder of the attack AdvPC."""

from pathlib import Path

from shared_utils import cli


def classes() -> tuple[type, type]:
    """What is trained, and on which data."""
    from si_adv.data.datamodule import PointCloudDataModule
    from si_adv.lightning_module import AutoencoderModule

    return AutoencoderModule, PointCloudDataModule


def after(training, folder: Path) -> None:
    """Write the autoencoder as a folder, and say what to do with it."""
    made = folder / "autoencoder"
    training.model.autoencoder.save_pretrained(made)
    print(f"use it: {cli.command('attack')} --attack advpc --options '{{advpc: {{autoencoder: {made}}}}}'")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    links = {"num_points": "num_points"}
    return cli.train(
        classes, argv, default_config="autoencoder.yaml", links=links, monitor=("val_chamfer", "min"), after=after
    )
