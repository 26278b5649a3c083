"""Train a segmenter, dense or with experts; without arguments on the procedural default, minutes on a CPU."""

import sys
from pathlib import Path

from shared_utils import cli

TASKS = {
    "segmentation": ("SegmentationModule", "datamodule", "SegmentationDataModule", ("val_miou", "max")),
    "detection": ("DetectionModule", "detection", "DetectionDataModule", ("val_mask_ap", "max")),
    "upstream": ("UpstreamModule", "datamodule", "UpstreamDataModule", ("val_accuracy", "max")),
}


def classes_of(task: str):
    def classes():
        import importlib

        from rmoe import lightning_module

        module, room, data, _ = TASKS[task]
        return getattr(lightning_module, module), getattr(importlib.import_module(f"rmoe.data.{room}"), data)

    classes.__module__ = __name__
    return classes


def with_task(arguments: list[str]) -> tuple[str, list[str]]:
    """``--task X`` apart from the rest: segmentation where it is not given, or what a config of ours says in its name."""
    task, rest = None, []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--task":
            task = value if equals else next(words, "")
        elif name == "--crowd-as-objects":
            rest += ["--data.crowd_as_objects", "true"]
        else:
            rest.append(word)
    if task is None:
        configs = [Path(word.removeprefix("--config=")).stem for word in rest if word.endswith((".yaml", ".yml"))]
        task = next((name for stem in configs if (name := task_of(stem))), "segmentation")
    return task, rest


def task_of(stem: str) -> str | None:
    """The task of a config by its name: detection of ``detection_*`` and ``coco_*``, upstream of ``upstream_*`` and ``*22k``."""
    if stem.startswith(("detection", "coco")):
        return "detection"
    if stem.startswith("upstream") or stem.endswith("in22k"):
        return "upstream"
    return None


def after(training, folder: Path) -> None:
    print(f"trained: {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    task, arguments = with_task(list(sys.argv[1:] if argv is None else argv))
    if task not in TASKS:
        sys.stderr.write(f"train: error: --task {task!r} is unknown: choose of {', '.join(TASKS)}\n")
        return 2
    links = {"num_classes": "num_classes"} | ({} if task == "upstream" else {"class_names": "class_names"})
    return cli.train(classes_of(task), arguments, links=links, monitor=TASKS[task][3], after=after)
