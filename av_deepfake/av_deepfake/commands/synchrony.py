"""Measure whether the sound of a video is late or early, and by how much."""

from typing import Literal

from shared_utils import cli


def synchrony(
    data: str,
    ckpt: str | None = None,
    landmarks: str | None = None,
    detector: Literal["mtcnn", "dlib", "mesh"] = "mtcnn",
    mesh: str | None = None,
    variant: Literal["subpixel", "2020", "2021"] = "subpixel",
    aligned: bool = False,
    face: int = 0,
    out: str | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Compare mouth and sound at shifts of up to 15 frames (0.6 s): "sound 3 frames (120 ms) late", or why that can't be said.

    Measured on the longest stretch that shows one face, 20 s of it at most. A shift at the edge of the range, or one that
    does not stand out from the others, is no offset.

    Args:
        data: a video, a folder of videos, or the output of preprocess.
        ckpt: a model of the pre-training; the bundled one where not given.
        landmarks: a file or folder of landmarks (5, 68 or 468 points) instead of a detector.
        detector: mtcnn (five points), dlib (68, extra, not for commercial use) or mesh (68 of 468, extra and --mesh).
        mesh: face_landmark.tflite, for --detector mesh.
        variant: how mouths are cut: subpixel, or as published in 2020 (LipForensics) or 2021 (lip-reading).
        aligned: the videos show mouth crops already; no face is looked for.
        face: of several people, whom to follow where a stretch begins: 0 the largest face, n the n-th from the left.
        out: a folder for synchrony.csv, synchrony.md and curves.json; where not given, the results are only printed.
        limit: at most this many videos.
        overwrite: replace what is in --out.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from av_deepfake.prediction.sources import collect
    from av_deepfake.preprocessing import Settings
    from shared_utils import UserError, files

    if out is not None:
        files.refuse_existing(out, overwrite)
    settings = Settings(detector, mesh, variant=variant, landmarks=landmarks, aligned=aligned, face=face)
    settings.check()
    videos = collect(data, limit, leave_out=out)

    from av_deepfake import pretrained
    from av_deepfake.prediction import timing
    from shared_utils.distributed import choose_device
    from shared_utils.logging import table, write_table

    rows = timing.timings(videos, settings, pretrained.load(ckpt, choose_device(device)))
    if len(rows) == 1 and rows[0].failed and out is None:
        raise UserError(rows[0].text)
    print(f"{table([row.row() for row in rows])}\n{timing.CONFIDENCE}")
    if out is not None:
        write_table([row.row() for row in rows], Path(out) / "synchrony")
        files.write_json(timing.curves(rows), Path(out) / "curves.json")
        print(f"wrote {out}/synchrony.csv, synchrony.md and curves.json")
    if failed := [row.file for row in rows if row.failed]:
        raise UserError(f"{len(failed)} of {len(rows)} could not be compared: {', '.join(failed[:5])}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(synchrony, argv)
