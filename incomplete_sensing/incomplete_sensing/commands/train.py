"""Train a reconstruction from measurements alone; without arguments on the embedded digits, a minute on a CPU."""

import sys
from pathlib import Path

from shared_utils import cli


def classes():
    from incomplete_sensing.data.datamodule import MeasurementDataModule
    from incomplete_sensing.lightning_module import ReconstructionModule

    return ReconstructionModule, MeasurementDataModule


def after(training, folder: Path) -> None:
    from incomplete_sensing import evaluation

    evaluation.draw_learning_curves(folder)
    print(f"evaluate it: {cli.command('evaluate')} --ckpt {folder}")


def with_method(arguments: list[str]) -> list[str]:
    """``--method X`` as the two keys that it stands for: only sup and linear are given the truth."""
    completed = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name != "--method":
            completed.append(word)
            continue
        method = value if equals else next(words, "")
        completed += ["--model.method", method, "--data.truth", "true" if method in ("sup", "linear") else "false"]
    return completed


def main(argv: list[str] | None = None) -> int:
    arguments = with_method(list(sys.argv[1:] if argv is None else argv))
    links = {"family": "operators", **{name: name for name in ("noise_sigma", "noise_gain", "model_dimension")}}
    return cli.train(classes, arguments, links=links, monitor=("selection_loss", "min"), after=after)
