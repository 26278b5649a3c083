"""Train a restoration network: `python train.py --config` uses configs/default.yaml (made clips, CPU, minutes)."""

import sys
from pathlib import Path

from shared_utils import cli

DEFAULT = Path(__file__).parent / "configs" / "default.yaml"


def classes():
    from old_films_rtn.data.datamodule import FilmDataModule
    from old_films_rtn.lightning_module import RestorationModule

    return RestorationModule, FilmDataModule


def after(training, folder: Path) -> None:
    if training.model.device.type == "cpu" and not training.model.hparams.single_frame:
        from old_films_rtn import evaluation, figures

        figures.comparison(
            folder / "figures" / "held_out.png", evaluation.held_out(1, 7, 64)[0, 0], training.model.best.eval()
        )
    print(
        f"evaluate it: python evaluate.py --ckpt {folder}\nrestore a film: python restore.py FILM --ckpt {folder} -o OUT"
    )


def main(argv: list[str] | None = None) -> int:
    return cli.train(classes, argv, default_config=DEFAULT, monitor=("val_psnr", "max"), after=after)


if __name__ == "__main__":
    sys.exit(main())
