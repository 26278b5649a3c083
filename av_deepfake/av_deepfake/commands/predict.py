"""Score videos by how their mouths move, and check whether the sound belongs to the picture."""

from typing import Literal

from shared_utils import cli


def predict(
    data: str,
    ckpt: str | None = None,
    genuine: str | None = None,
    landmarks: str | None = None,
    detector: Literal["mtcnn", "dlib", "mesh"] = "mtcnn",
    mesh: str | None = None,
    variant: Literal["subpixel", "2020", "2021"] = "subpixel",
    aligned: bool = False,
    face: int = 0,
    sound: bool = True,
    missing: float = 0.5,
    out: str | None = None,
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Score a video, a folder of videos or the output of preprocess; write scores.csv, clips.csv and report.html.

    Args:
        data: a video, a folder of videos, or the output of preprocess.
        ckpt: the model; the bundled one where not given.
        genuine: a folder of genuine videos of your own, with whose scores the others are compared.
        landmarks: a file or folder of landmarks (5, 68 or 468 points) instead of a detector.
        detector: mtcnn (five points), dlib (68, extra, not for commercial use) or mesh (68 of 468, extra and --mesh).
        mesh: face_landmark.tflite, for --detector mesh.
        variant: how mouths are cut: subpixel, or as published in 2020 (LipForensics) or 2021 (lip-reading).
        aligned: the videos show mouth crops already; no face is looked for.
        face: of several people, whom to follow where a stretch begins: 0 the largest face, n the n-th from the left.
        sound: measure whether the sound is in time.
        missing: a video in which a larger share of frames shows no face has no score.
        out: the folder of the results; where not given, they are only printed.
        limit: at most this many videos.
        resume: continue an interrupted run in --out.
        overwrite: replace the results in --out.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from av_deepfake.prediction import request, write_rows
    from av_deepfake.preprocessing import Settings
    from shared_utils import files

    if out is not None:
        files.refuse_existing(out, overwrite or resume, resume_possible=True)
    settings = Settings(
        **{"detector": detector, "model": mesh, "variant": variant, "landmarks": landmarks, "aligned": aligned},
        **{"face": face, "sound": sound, "device": device},
    )
    asked = request(data, genuine, out, limit, settings, missing)

    from av_deepfake import page, pretrained
    from av_deepfake.prediction import job as jobs
    from shared_utils import distributed
    from shared_utils.logging import table

    with distributed.process_group():
        model = pretrained.load(ckpt, distributed.choose_device(device))
        distributed.barrier()  # every process has looked at --out before one begins
        with jobs.begin(asked, model, out, resume, overwrite) as job:
            results = jobs.predict(asked, model, job)
            if distributed.rank() != 0:
                return
            print(table(jobs.overview(results.rows)[:100]))
            if out is not None:
                write_rows(results.rows, out)
                head = page.heading(model, ckpt, asked, results.genuine)
                page.write(Path(out) / "report.html", Path(data).name or data, results, head, job)
                job.complete()
                print(f"wrote {out}/report.html, scores.csv and clips.csv")
    results.raise_failures()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(predict, argv)
