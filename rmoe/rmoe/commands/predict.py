"""Segment, detect or classify pictures, and show which expert saw what."""

from shared_utils import cli


def predict(
    images: str,
    out: str = "runs/predictions",
    ckpt: str | None = None,
    experts: bool = False,
    ms_flip: bool = False,
    score: float = 0.3,
    limit: int | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Predict a picture or every picture of a folder.

    Segmentation writes NAME_colour.png and NAME_index.png (the class of each pixel), detection NAME.json and
    NAME_overlay.png, classification NAME.json.

    Args:
        images: a picture, or a folder of them.
        out: folder to write.
        ckpt: the model; the bundled one (of the procedural default, see README) where not given.
        experts: also write, for each mixture, which expert every pixel went to: NAME_experts_LAYER.png.
        ms_flip: segmentation: average over scales and mirrored images.
        score: objects with at least this score are drawn.
        limit: at most this many pictures.
        device: auto, cpu, cuda, mps.
        resume: continue the same job: pictures that are finished are not done again.
        overwrite: begin again although out exists.
    """
    from rmoe import prediction, pretrained
    from shared_utils import checkpoint, distributed, work

    with distributed.process_group():
        found = prediction.find_images(images, limit)
        given = pretrained.load(ckpt).to(distributed.choose_device(device))
        writer = prediction.Writer(given, out, ms_flip, experts, score)
        pictures = prediction.part_names(found, images)
        job = {"images": list(pictures), "model": checkpoint.weights_digest(given.model)}
        job |= {"experts": experts, "ms_flip": ms_flip, "score": score}
        with work.begin(out, job, resume=resume, overwrite=overwrite) as parts:
            for line in prediction.predict_all(writer, pictures, parts):
                print(line)
            parts.complete()
            print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(predict, argv)
