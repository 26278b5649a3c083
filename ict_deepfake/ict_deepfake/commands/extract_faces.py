"""Cut the faces out of pictures and videos, aligned, with their landmarks."""

from typing import Literal

from shared_utils import cli


def extract_faces(
    data: str,
    out: str,
    ckpt: str | None = None,
    faces: Literal["mtcnn", "retinaface", "dlib"] = "mtcnn",
    retinaface: str | None = None,
    landmarks: str | None = None,
    min_size: int = 40,
    every: int = 15,
    largest: bool = False,
    exact: bool = False,
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Write the aligned crop of every face as PNG under the name of its file, and faces.csv and landmarks.json.

    Folders stay as they are, so that a folder of persons becomes one of crops. Crops are for predict --aligned,
    landmarks.json for --landmarks.

    Args:
        data: a picture, a video, or a folder of both.
        out: the folder of the crops.
        ckpt: cut as this model wants its crops; as published (317 pixels) where not given.
        faces: the face detector.
        retinaface: its published weights, for --faces retinaface.
        landmarks: a file of landmarks (.json .csv .npz .npy) instead of a detector.
        min_size: side of the smallest face in pixels.
        every: look at each so many frames of a video.
        largest: only the largest face of each picture or frame.
        exact: sample as the published code does to a grey level, instead of fast and without aliasing.
        limit: at most this many files of a folder, or frames of a video.
        resume: continue an interrupted run in --out.
        overwrite: replace what is in --out.
        device: auto, cpu, cuda, mps.
    """
    from ict_deepfake.prediction import extraction
    from ict_deepfake.prediction.request import Request

    request = Request(
        data, ckpt, None, None, "ict", faces, retinaface, landmarks, False, min_size, every, limit, device
    )
    found = extraction.extract(request, out, largest=largest, exact=exact, resume=resume, overwrite=overwrite)
    count = sum(row.status == "ok" for row in found.rows)
    without = sum(one.status == "no_face" for one in found.summaries)
    print(f"{count} faces of {len(found.summaries)} files in {out} ({without} files show none)")
    found.raise_failures(out)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(extract_faces, argv)
