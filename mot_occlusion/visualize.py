"""Look at what happened: trajectories, identities over time, the occlusion map, similarities, HOTA curves."""

import sys
from typing import Literal

from shared_utils import cli


def visualize(
    figure: Literal["trajectories", "timeline", "frames", "occlusion", "similarity", "hota"],
    results: str | None = None,
    source: str | None = None,
    gt: str | None = None,
    frame: int = 1,
    second: int | None = None,
    detections: str | None = None,
    detections_size: str | None = None,
    checkpoint: str | None = None,
    out: str | None = None,
    device: str = "auto",
) -> None:
    """Draw one figure as a PNG.

    trajectories, timeline: of --results (a file that track.py wrote). frames: --frame and --second of --source, such as
    an annotated video. occlusion: the map of --frame of --source. similarity: of the people in --frame and --second of
    --source. hota: curves of --results against --gt.

    Args:
        figure: trajectories, timeline, frames, occlusion, similarity or hota.
        results: a results file; for hota a folder, or several as name=folder with commas between.
        source: the video or folder of images; for trajectories the background, if given.
        gt: ground truth for hota.
        frame: which frame of the source, from 1.
        second: the other frame for frames and similarity; ten later where not given.
        detections: boxes for similarity (frame,-1,x,y,w,h,score); the network's own where not given.
        detections_size: WIDTHxHEIGHT for which the detections were made, if not the video's.
        checkpoint: the network for occlusion and similarity; the one that travels with the package where not given.
        out: the PNG; <figure>.png where not given.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from mot_occlusion import pictures
    from shared_utils import UserError

    path = Path(out or f"{figure}.png")
    needed = {"trajectories": "results", "timeline": "results", "hota": "results"}.get(figure, "source")
    if {"results": results, "source": source}[needed] is None:
        raise UserError(f"{figure} needs --{needed}")
    if figure == "trajectories":
        pictures.trajectories(path, results, source, frame)
    elif figure == "timeline":
        pictures.timeline(path, results)
    elif figure == "frames":
        pictures.frames(path, source, frame, second or frame + 10)
    elif figure == "hota":
        if gt is None:
            raise UserError("hota needs --gt")
        pictures.hota(path, results, gt)
    else:
        from mot_occlusion.detector import Detector

        detector = Detector.load(checkpoint, device=device)
        if figure == "occlusion":
            pictures.occlusion(path, detector, source, frame)
        else:
            boxes = (detections, detections_size) if detections else None
            pictures.similarity(path, detector, source, frame, second or frame + 10, boxes)
    print(f"wrote {path}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(visualize, argv, positional=True)


if __name__ == "__main__":
    sys.exit(main())
