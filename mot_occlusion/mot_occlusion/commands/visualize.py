"""Look at what happened: trajectories, identities over time, the occlusion map, similarities, HOTA curves."""

from pathlib import Path
from typing import Literal

from shared_utils import cli


def visualize(
    figure: Literal["trajectories", "timeline", "frames", "occlusion", "similarity", "hota"],
    results: str | None = None,
    source: str | None = None,
    data: str | None = None,
    frame: int = 1,
    second: int | None = None,
    detections: str | None = None,
    detections_size: str | None = None,
    ckpt: str | None = None,
    out: str | None = None,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Draw one figure: a PNG, or by the ending of --out a JPEG, PDF or SVG.

    trajectories, timeline: of --results (a file that track.py wrote). frames: --frame and --second of --source, such as
    an annotated video. occlusion: the map of --frame of --source. similarity: of the people in --frame and --second of
    --source. hota: curves of --results against --data.

    Args:
        figure: trajectories, timeline, frames, occlusion, similarity or hota.
        results: a results file; for hota a folder, or several as name=folder with commas between.
        source: the video or folder of images; for trajectories the background, if given.
        data: ground truth for hota.
        frame: which frame of the source, from 1.
        second: the other frame for frames and similarity; ten later where not given.
        detections: boxes for similarity (frame,-1,x,y,w,h,score); the network's own where not given.
        detections_size: WIDTHxHEIGHT for which the detections were made, if not the video's.
        ckpt: the network for occlusion and similarity, as of track.py; the bundled one where not given.
        out: the picture; <figure>.png where not given.
        overwrite: replace it where it exists.
        device: auto, cpu, cuda, mps.
    """
    from mot_occlusion import visualization
    from shared_utils import UserError, files

    path = Path(out or f"{figure}.png")

    def needed(name: str, value: str | None) -> str:
        if value is None:
            raise UserError(f"{figure} needs --{name}")
        return value

    files.refuse_existing(path, overwrite)
    second = second or frame + 10
    if figure == "trajectories":
        visualization.trajectories(path, needed("results", results), source, frame)
    elif figure == "timeline":
        visualization.timeline(path, needed("results", results))
    elif figure == "frames":
        visualization.frames(path, needed("source", source), frame, second)
    elif figure == "hota":
        visualization.hota(path, needed("results", results), needed("data", data))
    else:
        from mot_occlusion import pretrained

        given = needed("source", source)
        detector = pretrained.load(ckpt, device)
        if figure == "occlusion":
            visualization.occlusion(path, detector, given, frame)
        else:
            boxes = (detections, detections_size) if detections else None
            visualization.similarity(path, detector, given, frame, second, boxes)
    print(f"wrote {path}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(visualize, argv)
