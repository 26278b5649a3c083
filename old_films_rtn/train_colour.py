"""Train a network that carries the colour of key-frames: `python train_colour.py --config` uses configs/colour.yaml."""

import sys
from pathlib import Path

from shared_utils import cli

DEFAULT = Path(__file__).parent / "configs" / "colour.yaml"


def classes():
    from old_films_rtn.colour_module import ColourModule
    from old_films_rtn.data.colour import ColourDataModule

    return ColourModule, ColourDataModule


def after(training, folder: Path) -> None:
    """Leave the best weights beside the run, as colorize.py takes them."""
    from old_films_rtn.colour import load_colour
    from shared_utils import checkpoint

    best = training.trainer.checkpoint_callbacks[0].best_model_path
    checkpoint.save_safetensors(load_colour(best).state_dict(), folder / "colour.safetensors")
    print(f"colour a film: python colorize.py FILM --keyframes KEYS --ckpt {folder / 'colour.safetensors'} -o OUT")


def main(argv: list[str] | None = None) -> int:
    return cli.train(classes, argv, default_config=DEFAULT, monitor=("val_psnr", "max"), after=after)


if __name__ == "__main__":
    sys.exit(main())
