"""Track people in videos, online."""

from dataclasses import replace
from typing import Literal

from shared_utils import cli


def track(
    source: str,
    ckpt: str | None = None,
    detections: str | None = None,
    mode: Literal["private", "public", "provided"] | None = None,
    detections_size: str | None = None,
    detector: str | None = None,
    detector_weights: str | None = None,
    classes: str = "person",
    out: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    embeddings: bool = True,
    occlusion: bool = True,
    conf_threshold: float = 0.4,
    low_threshold: float | None = 0.2,
    new_threshold: float | None = None,
    first: Literal["published", "fused"] = "published",
    reid_threshold: float = 0.4,
    iou_threshold: float | None = None,
    fair_iou: bool | None = None,
    recovery_window: float = 1,
    refine_lost_box: Literal["none", "output", "kalman", "centre"] = "none",
    measurement_noise: float | None = 1.0,
    camera_motion: bool = False,
    track_buffer: int = 30,
    min_box_area: float = 100.0,
    max_aspect: float | None = 1.6,
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
    detector: their boxes are tracked, described by the embeddings of the network. With a detection model of torchvision:
    any video, from its pixels to identities.

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
        detector: a detection model of torchvision, such as fasterrcnn_resnet50_fpn_v2, instead of --ckpt; with --ckpt as
            well, that network describes whom it finds.
        detector_weights: the file of its state_dict; torchvision downloads its own where not given.
        classes: what the detector looks for, COCO's names with commas between, or all.
        out: folder for the results; a new runs/track/version_N where not given.
        resume: continue an interrupted run in --out; the same arguments are needed.
        overwrite: replace what an earlier run has left in --out.
        embeddings: with provided detections, whether to look at the images at all.
        occlusion: whether to recover hidden people through occlusion centres.
        conf_threshold: detections must score above it to be taken for sure.
        low_threshold: detections between it and --conf_threshold go on with tracks that were just seen; null: dropped.
        new_threshold: detections must score above it to start a track; --conf_threshold where not given.
        first: the first association, by embeddings (published), or by embeddings and IoU (fused).
        reid_threshold: limit of the first association's cost, by embeddings.
        iou_threshold: limit of the second association's cost, 1 - IoU; 0.5 with embeddings and 0.7 for boxes alone where
            not given.
        fair_iou: whether lost people may be found by IoU alone; only without embeddings where not given.
        recovery_window: frames for which a hidden person may be recovered; below 1, seconds.
        refine_lost_box: what centres do to boxes of hidden people: none, output, kalman or centre.
        measurement_noise: of the filter, in published deviations; null: it follows the boxes.
        camera_motion: let tracks follow the motion of the camera.
        track_buffer: frames (at 30 per second) for which a lost track is kept.
        min_box_area: smaller boxes are not reported.
        max_aspect: boxes wider than so many heights are not reported; null for other things than people.
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
    from shared_utils import UserError, distributed
    from shared_utils.logging import table

    mode = mode or ("provided" if detections else "private")
    network_size = parse_size(input_size)
    sources = list_sources(source)
    given = None if mode == "private" else GivenDetections(sources, detections, parse_size(detections_size))
    options = {
        "conf_threshold": conf_threshold,
        "low_threshold": low_threshold,
        "new_threshold": new_threshold,
        "first": first,
        "reid_threshold": reid_threshold,
        "iou_threshold": iou_threshold,
        "fair_iou": fair_iou,
        "occlusion": occlusion,
        "track_buffer": track_buffer,
        "recovery_window": recovery_window,
        "refine_lost_box": refine_lost_box,
        "measurement_noise": measurement_noise,
        "max_aspect": max_aspect,
        "min_box_area": min_box_area,
        "clip_boxes": clip_boxes,
    } | (PUBLISHED if published else {})
    run = TrackingRun(
        source,
        sources,
        mode,
        options,
        given=given,
        frame_rate=frame_rate,
        reconnect=reconnect,
        limit=limit,
        max_unreadable=max_unreadable,
        video=video,
        camera_motion=camera_motion,
    )
    if mode == "provided" and detector:
        raise UserError("--detector finds people itself: leave it out where the boxes are given by --detections")
    with distributed.process_group():
        finder = network = None
        if ckpt or (not detector and (mode != "provided" or embeddings)):
            from mot_occlusion import pretrained

            network = pretrained.load(ckpt, device, precision, network_size and (network_size[1], network_size[0]))
        if detector:
            from mot_occlusion.torchvision_detector import TorchvisionDetector

            finder = TorchvisionDetector(detector, detector_weights, classes, device)
        run = replace(run, detector=finder or network, embedder=network if finder else None)
        folder, rows = run.start(out, resume, overwrite)
    if rows:
        columns = ("sequence", "frames", "unreadable_frames", "identities", "boxes", "recovered_boxes")
        print(table([{name: row[name] for name in columns} for row in rows]))
        print(f"\nresults: {folder}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(track, argv)
