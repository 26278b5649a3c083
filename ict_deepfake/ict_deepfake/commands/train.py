"""Train the two-token network on identities; without arguments on parametric faces, minutes on a CPU."""

import sys
from pathlib import Path

from shared_utils import cli

LINKS = {name: name for name in ("num_classes", "size", "alignment")}


def classes() -> tuple[type, type]:
    """What is trained, and on which data."""
    from ict_deepfake.data.module import FacesData
    from ict_deepfake.lightning_module import TrainingModule

    return TrainingModule, FacesData


def after(training, folder: Path) -> None:
    """Say what to do with the network."""
    if training.model.method == "ict":
        print(f"evaluate it: {cli.command('evaluate')} --ckpt {folder}")


def spelled_out(arguments: list[str]) -> list[str]:
    """``--data FOLDER`` as ``--data.root FOLDER``; ``--seed N`` is of the data as well as of the weights."""
    keys = {"--data": ("--data.root",), "--seed": ("--seed_everything", "--data.seed")}
    result: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in keys:
            given = value if equals else next(rest, None)
            result += [part for key in keys[name] for part in ((key,) if given is None else (key, given))]
        else:
            result.append(word)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    arguments = spelled_out(sys.argv[1:] if argv is None else argv)
    return cli.train(classes, arguments, links=LINKS, monitor=("val_auc", "max"), after=after)
