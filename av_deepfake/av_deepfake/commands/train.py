"""Pre-train on talking faces, or fine-tune on forged ones; without arguments on procedural mouths, minutes on a CPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from shared_utils import cli

LINKS = {name: name for name in ("preprocessing", "training")}
WORDS = {
    "--data": ("--data.root",),
    "--weights": ("--model.weights",),
    "--leave_out": ("--data.leave_out",),
    "--seed": ("--seed_everything", "--data.seed"),
}


def pretraining() -> tuple[type, type]:
    """What is trained, and on which data."""
    from av_deepfake.data.pretraining import TalkingData
    from av_deepfake.lightning_module import Pretraining

    return Pretraining, TalkingData


def detection() -> tuple[type, type]:
    """What is trained, and on which data."""
    from av_deepfake.data.detection import DetectionData
    from av_deepfake.lightning_module import Detection

    return Detection, DetectionData


def after_pretraining(training, folder: Path) -> None:
    """Draw the curves, and say how to go on."""
    from av_deepfake.figures import curves

    curves(folder, "train_loss", ("val_top1_va", "val_top1_av"), "share of clips that find their sound")
    print(f"fine-tune it: {cli.command('train')} --config detect.yaml --weights {folder}")


def after_detection(training, folder: Path) -> None:
    """Draw the curves, and say how to go on."""
    from av_deepfake.figures import curves

    curves(folder, "train_loss", ("val_auc",), "AUC of validation videos")
    data = training.datamodule.root
    print(f"evaluate it: {cli.command('evaluate')} --ckpt {folder}" + (f" --data {data}" if data else ""))


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """``--data FOLDER`` as ``--data.root FOLDER``; ``--seed N`` is of the data as well as of the weights."""
    result: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_").replace("__", "--", 1) if name.startswith("--") else name
        if name in WORDS:
            given = value if equals else next(rest, None)
            result += [part for key in WORDS[name] for part in ((key,) if given is None else (key, given))]
        else:
            result.append(word)
    return result


def stage_of(arguments: Sequence[str]) -> str:
    """``model.stage`` of the configs and arguments: pretraining where none says it."""
    from shared_utils import UserError
    from shared_utils.arguments import find_config

    stage = "pretraining"
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, own = word.partition("=")
        value = own if equals else following
        if name == "--model.stage":
            stage = value
        elif name in ("--config", "-c") and value and not value.startswith("-"):
            try:
                text = find_config(value, "av_deepfake").read_text()
            except UserError:
                continue  # what is wrong with it is said where it is read
            stage = next((match[1] for match in re.finditer(r"^[^#\n]*\bstage: *(\w+)", text, re.MULTILINE)), stage)
    return stage


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    arguments = spelled_out(sys.argv[1:] if argv is None else argv)
    if stage_of(arguments) == "detection":
        links = {**LINKS, "prior": "prior"}
        return cli.train(detection, arguments, links=links, monitor=("val_auc", "max"), after=after_detection)
    return cli.train(pretraining, arguments, links=LINKS, monitor=("val_top1_va", "max"), after=after_pretraining)
