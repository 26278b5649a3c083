"""Pre-train on noisy identities (PNL, or a baseline); without arguments on the procedural street, minutes on a CPU."""

import sys
from pathlib import Path

from luperson_nl.shorthand import spelled_out
from shared_utils import cli

LINKS = {name: name for name in ("num_classes", "size", "mean", "std")}


def classes() -> tuple[type, type]:
    """What is trained, and on which data."""
    from luperson_nl.data.pretraining import PretrainingData
    from luperson_nl.lightning_module import PretrainingModule

    return PretrainingModule, PretrainingData


def after(training, folder: Path) -> None:
    """Say what to do with the trunk."""
    print(f"fine-tune from it: {cli.command('finetune')} --weights {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    arguments = spelled_out(sys.argv[1:] if argv is None else argv)
    return cli.train(classes, arguments, links=LINKS, monitor=("val_mAP", "max"), after=after)
