"""Measure mIoU, box and mask AP, or accuracy of a model on a data set."""

from typing import Literal

from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    data: str | None = None,
    split: Literal["val", "test"] = "val",
    layout: Literal["auto", "ade20k", "folder", "coco"] = "auto",
    classes: list[str] | None = None,
    background: Literal["ignore", "class"] = "ignore",
    annotations: list[str] = [],  # noqa: B006 (never changed)
    images: list[str] = [],  # noqa: B006 (never changed)
    ms_flip: bool = False,
    window: int | None = None,
    limit: int | None = None,
    out: str = "runs/evaluation",
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Evaluate a model by its task: mIoU over the set at the labels' resolution, COCO's AP, or top-1 accuracy.

    Writes metrics.json, by_class.csv and .md, by_class.png and panels.png.

    Args:
        ckpt: the model; the bundled one where not given.
        data: ADE20K, COCO, a folder of image and mask pairs, {train,val}/class/; the procedural default where not given.
        split: of data with folders for it; ADE20K and COCO have val.
        layout: of data for segmentation; auto recognises it.
        classes: of a folder's class list, the names that are kept, in the model's order.
        background: COCO as segmentation: pixels of no object are ignored, or a class.
        annotations: COCO: two json files, of training and validation, relative to data.
        images: COCO: their folders of images.
        ms_flip: segmentation: six scales from 0.5 to 1.75, each also mirrored, averaged.
        window: segmentation: side of sliding windows; the whole image where not given.
        limit: at most this many images.
        out: folder to write.
        device: auto, cpu, cuda, mps.
        resume: continue the same job: images that are finished are not done again.
        overwrite: begin again although out exists.
    """
    from rmoe import pretrained, scoring
    from shared_utils import UserError, distributed, logging, work

    with distributed.process_group():
        given = pretrained.load(ckpt).to(distributed.choose_device(device))
        if ms_flip and given.task != "segmentation":
            raise UserError(f"--ms_flip is for segmentation, this model is for {given.task}")
        options = scoring.Options(
            data, split, layout, classes, background, tuple(annotations), tuple(images), ms_flip, window, limit
        )
        made = scoring.scoring(given, options)
        with work.begin(out, options.job(given), resume=resume, overwrite=overwrite) as parts:
            found = scoring.score(made, parts)
            if distributed.rank() == 0:
                scoring.write(made, found, out)
                print(logging.table([found.summary], f"{found.title}, {made.count} images"))
                print(f"wrote {out}")
            parts.complete()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(evaluate, argv)
