"""Train a network that carries the colour of key-frames."""

from pathlib import Path

from shared_utils import cli


def classes():
    """The module and the data of `configs/colour.yaml`."""
    from old_films_rtn.colour_module import ColourModule
    from old_films_rtn.data.colour import ColourDataModule

    return ColourModule, ColourDataModule


def after(training, folder: Path) -> None:
    """Leave the best weights in a folder of their own, and say what to type next."""
    from old_films_rtn import pretrained

    best = training.trainer.checkpoint_callbacks[0].best_model_path
    pretrained.load_colour(best).save_pretrained(folder / "colour")
    print(f"colour a film: {cli.command('colorize')} FILM --keyframes KEYS --ckpt {folder} --out OUT")


def main(argv: list[str] | None = None) -> int:
    return cli.train(classes, argv, default_config="colour.yaml", monitor=("val_psnr", "max"), after=after)
