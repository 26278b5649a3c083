"""Fine-tune BoT, AGW or MGN on labelled persons, from a pre-trained trunk or from scratch."""

import sys
from pathlib import Path

from luperson_nl.shorthand import WORDS, spelled_out
from shared_utils import cli

LINKS = {name: name for name in ("num_classes", "size", "mean", "std")}


def classes() -> tuple[type, type]:
    """What is trained, and on which data."""
    from luperson_nl.data.finetuning import FinetuningData
    from luperson_nl.lightning_module import FinetuningModule

    return FinetuningModule, FinetuningData


def after(training, folder: Path) -> None:
    """Say what to do with the model."""
    data = training.datamodule.root
    print(f"evaluate it: {cli.command('evaluate')} --ckpt {folder}" + (f" --data {data}" if data else ""))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    words = WORDS | {"--split": ("--data.split",), "--ckpt": ("--model.weights",)}
    arguments = spelled_out(sys.argv[1:] if argv is None else argv, words)
    # The last weights are kept, as published: the data set's own queries are not to choose among them.
    return cli.train(classes, arguments, default_config="bot_street.yaml", links=LINKS, after=after)
