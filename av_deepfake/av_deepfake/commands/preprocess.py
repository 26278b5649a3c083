"""Cut the mouths out of videos, with their sound, for training and evaluation."""

from typing import Literal

from shared_utils import cli


def preprocess(
    data: str,
    out: str,
    detector: Literal["mtcnn", "dlib", "mesh"] = "mtcnn",
    mesh: str | None = None,
    every: int = 5,
    variant: Literal["subpixel", "2020", "2021"] = "subpixel",
    landmarks: str | None = None,
    aligned: bool = False,
    face: int = 0,
    split: Literal["train", "val", "test"] = "train",
    sound: bool = True,
    degrade: str | None = None,
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Write the mouth of each video at 25 frames a second, 96 x 96 grey, its sound at 16 kHz, and what is known of it.

    Picture and sound keep one clock, from the time stamps of the file. Under torchrun each process takes its share of the
    videos. mouths.csv has a row a video. A video that cannot be read is named there, and the others are done.

    Args:
        data: a video, or a folder of videos; of LRW those of --split, of VoxCeleb2 those in dev/mp4
            with the sound in dev/aac.
        out: the folder of the mouths; the names of the videos stay.
        detector: mtcnn: five points, MIT. dlib: 68 points, extra [dlib], not for commercial use. mesh: 68 points of a mesh
            of 468, extra [mesh] and --mesh, Apache-2.0.
        mesh: face_landmark.tflite of the mesh.
        every: frames between two looks of MTCNN; every fifth is steadier than every single one.
        variant: subpixel, or as published: 2020 (LipForensics, for its weights), 2021 (lip-reading; needs 68 points).
        landmarks: known landmarks instead of a detector: a folder with clip.npy (or .npz, .pkl, .json, or a folder clip of
            one .npy a frame) for each clip.mp4, or one such file. 5, 68 or 468 points.
        aligned: the videos are mouth crops already.
        face: of several people, whom to follow where a stretch begins: 0 the largest face, n the n-th from the left.
        split: of LRW: train, val or test.
        sound: store the sound too.
        degrade: a perturbation before detection, for robustness tests: blur:3, compression:5, ...
        limit: at most this many videos.
        resume: continue an interrupted run in --out.
        overwrite: replace what is in --out.
        device: auto, cpu, cuda, mps.
    """
    from av_deepfake.data.layouts.talking import talking
    from av_deepfake.preprocessing.folder import cut_folder
    from av_deepfake.preprocessing.video import Settings
    from shared_utils import distributed

    settings = Settings(detector, mesh, every, variant, landmarks, aligned, sound, degrade, device, face)
    settings.check()
    videos, sounds = talking(data, split, limit, leave_out=out)
    done = cut_folder(videos, out, settings, sounds, resume=resume, overwrite=overwrite)
    if distributed.rank() == 0:
        print(done.summary())
    done.raise_failures()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(preprocess, argv)
