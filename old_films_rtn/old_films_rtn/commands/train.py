"""Train a restoration network."""

from pathlib import Path

from shared_utils import cli


def classes():
    """The module and the data of `configs/default.yaml`."""
    from old_films_rtn.data.datamodule import FilmDataModule
    from old_films_rtn.lightning_module import RestorationModule

    return RestorationModule, FilmDataModule


def after(training, folder: Path) -> None:
    """Draw a held-out clip, and say what to type next."""
    if training.model.device.type == "cpu" and not training.model.hparams.single_frame:
        from old_films_rtn import figures
        from old_films_rtn.evaluation.clips import held_out, sample_of

        figures.comparison(
            folder / "figures" / "held_out.png", sample_of(held_out(1, 7, 64), 0), training.model.best.eval()
        )
    print(
        f"evaluate it: {cli.command('evaluate')} --ckpt {folder}\n"
        f"restore a film: {cli.command('restore')} FILM --ckpt {folder} --out OUT"
    )


def main(argv: list[str] | None = None) -> int:
    return cli.train(classes, argv, monitor=("val_psnr", "max"), after=after)
