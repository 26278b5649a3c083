"""Track people in videos, online."""

from typing import Literal

from shared_utils import cli


def track(
    source: str,
    ckpt: str | None = None,
    detections: str | None = None,
    mode: Literal["private", "public", "provided"] | None = None,
    detections_size: str | None = None,
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    embeddings: bool = True,
    occlusion: bool = True,
    conf_threshold: float = 0.4,
    reid_threshold: float = 0.4,
    iou_threshold: float | None = None,
    fair_iou: bool | None = None,
    recovery_window: float = 10,
    refine_lost_box: Literal["none", "output", "kalman"] = "none",
    track_buffer: int = 30,
    min_box_area: float = 100.0,
    clip_boxes: bool = False,
    published: bool = False,
    video: bool = True,
    limit: int | None = None,
    frame_rate: float | None = None,
    reconnect: int = 5,
    max_unreadable: int = 100,
    input_size: str | None = None,
    device: str = "auto",
    precision: Literal["32", "bf16", "16"] = "32",
) -> None:
    """Track people in videos: MOT text, annotated video, figures and stats.json.

    With one network: people are detected, described and their occlusions found by it. With the detections of any other
    detector: their boxes are tracked, described by the embeddings of the network.

    Args:
        source: a video, the number of a camera, an address (rtsp://...), a folder of images, a MOTChallenge sequence, or
            a folder of sequences.
        ckpt: a run or .ckpt of train.py, an imported or exported model, a published file or user/model of the Hugging
            Face hub; the bundled small model where not given.
        detections: a file of detections (frame,-1,x,y,w,h,score); {sequence} stands for the sequence's name. Of a
            MOTChallenge sequence its det/det.txt where not given.
        mode: private (the network alone), public (its detections may only start a track where a public one is), provided
            (the given boxes are tracked); provided where --detections is given, else private.
        detections_size: WIDTHxHEIGHT for which the detections were made, if not the video's.
        out: folder for the results; a new runs/track/version_N where not given.
        resume: continue an interrupted run in --out; the same arguments are needed.
        overwrite: replace what an earlier run has left in --out.
        embeddings: with provided detections, whether to look at the images at all.
        occlusion: whether to recover hidden people through occlusion centres.
        conf_threshold: detections must score above it.
        reid_threshold: limit of the first association's cost, by embeddings.
        iou_threshold: limit of the second association's cost, 1 - IoU; 0.5 with embeddings and 0.7 for boxes alone where
            not given.
        fair_iou: whether lost people may be found by IoU alone; only without embeddings where not given.
        recovery_window: frames for which a hidden person may be recovered; below 1, seconds.
        refine_lost_box: none, output or kalman.
        track_buffer: frames (at 30 per second) for which a lost track is kept.
        min_box_area: smaller boxes are not reported.
        clip_boxes: report boxes clipped to the image.
        published: exactly as the published tracker (window of one frame, no refinement).
        video: write the annotated video.
        limit: at most this many frames of each source.
        frame_rate: of a folder of images; 25 where it is given neither here nor in seqinfo.ini.
        reconnect: how often in a row a camera that stops is opened again.
        max_unreadable: more frames that cannot be read end the run.
        input_size: WIDTHxHEIGHT of the network's input, multiples of 32; what it was trained for where not given.
        device: auto, cpu, cuda, mps.
        precision: 32, bf16 or 16.
    """
    from mot_occlusion.data.detection_files import GivenDetections, parse_size
    from mot_occlusion.data.sources import list_sources
    from mot_occlusion.tracking import PUBLISHED
    from mot_occlusion.tracking_run import TrackingRun
    from shared_utils import distributed
    from shared_utils.logging import table

    mode = mode or ("provided" if detections else "private")
    network_size = parse_size(input_size)
    sources = list_sources(source)
    given = None if mode == "private" else GivenDetections(sources, detections, parse_size(detections_size))
    options = {
        "conf_threshold": conf_threshold,
        "reid_threshold": reid_threshold,
        "iou_threshold": iou_threshold,
        "fair_iou": fair_iou,
        "occlusion": occlusion,
        "track_buffer": track_buffer,
        "recovery_window": recovery_window,
        "refine_lost_box": refine_lost_box,
        "min_box_area": min_box_area,
        "clip_boxes": clip_boxes,
    } | (PUBLISHED if published else {})
    detector = None
    with distributed.process_group():
        if mode != "provided" or embeddings:
            from mot_occlusion import pretrained

            detector = pretrained.load(ckpt, device, precision, network_size and (network_size[1], network_size[0]))
        run = TrackingRun(
            source, sources, mode, options, detector, given, frame_rate, reconnect, limit, max_unreadable, video
        )
        folder, rows = run.start(out, resume, overwrite)
    if rows:
        columns = ("sequence", "frames", "unreadable_frames", "identities", "boxes", "recovered_boxes")
        print(table([{name: row[name] for name in columns} for row in rows]))
        print(f"\nresults: {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(track, argv)
