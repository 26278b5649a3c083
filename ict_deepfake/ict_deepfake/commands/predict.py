"""Say of pictures and videos whether faces are swapped, and whose they are."""

from typing import Literal

from shared_utils import cli


def predict(
    data: str,
    ckpt: str | None = None,
    reference: str | None = None,
    claim: str | None = None,
    backend: Literal["ict", "dlib"] = "ict",
    faces: Literal["mtcnn", "retinaface", "dlib"] = "mtcnn",
    retinaface: str | None = None,
    landmarks: str | None = None,
    aligned: bool = False,
    min_size: int = 40,
    every: int = 15,
    out: str | None = None,
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Score every face of a picture, a folder or a video, and write scores.csv, the crops and report.html.

    Three questions can be answered: do the inner and the outer face belong together (always), whose are they (with
    --reference), is this the person that it is said to be (with --claim).

    Args:
        data: a picture, a video, or a folder of both.
        ckpt: the model; the bundled one where not given.
        reference: known persons: a file of build_reference, or a folder with a folder of pictures a person.
        claim: the person of the reference set whom the faces are said to be.
        backend: what answers the claim: ict, or dlib (extra; a plain face recogniser).
        faces: the face detector.
        retinaface: its published weights, for --faces retinaface.
        landmarks: a file of landmarks (.json .csv .npz .npy) instead of a detector.
        aligned: the pictures are aligned crops already; no face is looked for.
        min_size: side of the smallest face in pixels.
        every: look at each so many frames of a video.
        out: the folder of the results; where not given, they are only printed.
        limit: at most this many files of a folder, or frames of a video.
        resume: continue an interrupted run in --out.
        overwrite: replace the results in --out.
        device: auto, cpu, cuda, mps.
    """
    from ict_deepfake import page
    from ict_deepfake.prediction import job as jobs
    from ict_deepfake.prediction.request import Request, open_request
    from shared_utils import distributed
    from shared_utils.logging import table

    request = Request(
        data, ckpt, reference, claim, backend, faces, retinaface, landmarks, aligned, min_size, every, limit, device
    )
    opened = open_request(request, out, resume, overwrite)
    with opened.begin(out, resume, overwrite) as job:
        results = jobs.run(opened.collection, opened.predictor, job, every, limit, crops=out is not None)
        if distributed.rank() != 0:
            return
        asked = page.asked(opened.predictor, ckpt, request.settings())
        print("\n".join(f"answered: {question}" for question in asked.questions))
        print(table(page.overview(results, asked)[:100]))
        if out is not None:
            page.write_results(out, data, results, asked, job)
            job.complete()
            print(f"wrote {out}/report.html, scores.csv and {jobs.CROPS}/")
    results.raise_failures(out)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(predict, argv)
