"""Measure AUC of videos and clips, leave-one-out, robustness and trivial cues, on procedural mouths or a labelled set."""

from typing import Literal

from av_deepfake.data.layouts import Layout
from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    data: str | None = None,
    layout: Layout | None = None,
    split: str = "test",
    compression: str = "c23",
    base: str | None = None,
    mouths: str | None = None,
    protocol: Literal["exact", "lipforensics"] = "exact",
    degrade: str | None = None,
    trim_silence: bool = False,
    calibrate: Literal["logistic", "isotonic"] | None = None,
    detector: Literal["mtcnn", "dlib", "mesh"] = "mtcnn",
    mesh: str | None = None,
    landmarks: str | None = None,
    aligned: bool = False,
    out: str = "runs/evaluation",
    device: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Evaluate models: metrics.json, tables as .csv and .md, videos.csv with every logit, figures.

    Without --data, on procedural mouths of speakers that no training has, clean and compressed. A video's logit is the mean
    of its clips' logits; AUC is exact, its interval is over videos. Methods that a model was not trained on make the
    leave-one-out table. With --data, the AUC of what gives a label away without a look at the mouth (leading silence, file type,
    resolution, duration, bit rate, frame count) stands beside it. A video that cannot be used is named, and the exit status is
    then 2.

    Args:
        ckpt: the model, the bundled one where not given; several with commas between, as the runs of a leave-one-out.
        data: folder of the set, or a list: CSV or JSON with path, label[, method, video_id, landmarks].
        layout: of the set; found out where not given.
        split: of FaceForensics++ and DeepfakeBench train, val or test (or a JSON of pairs); of procedural mouths val or test.
        compression: of FaceForensics++: c0, c23, c40, several with commas between.
        base: what the paths of a list begin at; the folder of the list where not given.
        mouths: the folder that preprocess wrote of the set, in place of looking for faces again.
        protocol: lipforensics: whole clips of the first 110 frames, shorter videos dropped (and counted).
        degrade: all, or kinds with commas between: five levels of each, before faces are looked for.
        trim_silence: leave out what lies before the first sound.
        calibrate: the set is a validation set: fit a calibration, and write the model with it to OUT/calibrated.
        detector: of faces.
        mesh: face_landmark.tflite, for that detector.
        landmarks: a file or folder of landmarks in place of a detector.
        aligned: the videos are mouth crops already.
        out: folder to write.
        device: auto, cpu, cuda, mps.
        limit: at most so many videos of each method, and of the genuine ones.
        seed: of procedural mouths: that of the training.
        resume: continue the same job: videos that are scored are not scored again.
        overwrite: begin again although out exists.
    """
    from av_deepfake import evaluation
    from av_deepfake.evaluation.choosing import Wanted, chosen, load_models
    from shared_utils import distributed, logging

    with distributed.process_group():
        models = load_models(ckpt, distributed.choose_device(device))
        wanted = Wanted(
            **{
                "data": data,
                "layout": layout,
                "split": split,
                "compression": compression,
                "base": base,
                "mouths": mouths,
            },
            **{"protocol": protocol, "trim_silence": trim_silence, "detector": detector, "mesh": mesh},
            **{"landmarks": landmarks, "aligned": aligned, "limit": limit, "seed": seed},
        )
        options = evaluation.Options(degrade, calibrate)
        suspects, missing = chosen(wanted, next(iter(models.values())), len(options.changes()) > 1)
        found = evaluation.evaluate(suspects, models, options, out, resume=resume, overwrite=overwrite)
        if found is not None:
            print(logging.table(evaluation.shown(found["table"]), f"{found['set']}, {found['seen']['videos']} videos"))
            if found["leave_one_out"]:
                print(logging.table(found["leave_one_out"], "methods that were not trained on"))
            if found["cues"]:
                print(logging.table(found["cues"], "AUC of trivial cues alone"))
            print(f"wrote {out}")
            evaluation.check_complete(found, missing)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(evaluate, argv)
