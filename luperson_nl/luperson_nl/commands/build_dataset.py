"""Turn videos with boxes or tracks into a store of crops with noisy identities, and look at one."""

from typing import Literal

from shared_utils import cli


def build_dataset(
    data: str | None = None,
    out: str | None = None,
    det: str | None = None,
    tracks: str | None = None,
    lup_dets: str | None = None,
    det_size: str | None = None,
    gt: str | None = None,
    inspect: str | None = None,
    format: Literal["lmdb", "shards", "folder"] = "lmdb",
    min_frames: int | None = None,
    stride: int | None = None,
    confidence: float = 0.5,
    min_height: float = 48,
    min_aspect: float = 1.3,
    max_aspect: float = 4.5,
    inside: float = 0.9,
    max_overlap: float = 0.5,
    keep_all: bool = False,
    sure: float = 0.6,
    patience: int = 30,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Build a store of crops from videos, or --inspect one.

    Every track of every video is an identity of its own. Without --data, boxes with --gt are only measured: how well the
    tracks follow people.

    Args:
        data: a video, a folder of frames, a MOTChallenge sequence, or a folder of any of them.
        out: folder of the store; with --inspect, of the sheets (STORE/inspection where not given).
        det: boxes without ids, joined by the built-in tracker: a file of lines frame,id,left,top,width,height,confidence, or
            a folder of them with the videos' names; det/det.txt of each sequence where not given.
        tracks: the same with ids, of your own tracker.
        lup_dets: the authors' folder of country+city+key.pkl; they are chosen already, so that no limit is applied.
        det_size: WIDTHxHEIGHT of the pictures that the boxes were made on, where it is not the video's.
        gt: true people, as det: adds the purity report, and who is who to the store.
        inspect: a store: counts, contact sheets and, with --gt, purity, of what is there.
        format: lmdb, tar shards, or a folder for each identity.
        min_frames: a track must be seen in so many frames (200, as published).
        stride: frames from one crop of a track to the next (20, as published).
        confidence: the least of a box.
        min_height: the least height of a box, pixels.
        min_aspect: the least height / width of a box.
        max_aspect: the greatest height / width of a box.
        inside: the least share of a box inside the frame.
        max_overlap: the greatest IoU with another box of the frame.
        keep_all: no limit on single boxes.
        sure: the tracker begins tracks at boxes of this confidence.
        patience: the tracker looks for a person for so many frames.
        resume: continue the same build: videos that are finished are not done again.
        overwrite: begin again although out exists.
    """
    from luperson_nl.tracklets import inspection, reports
    from luperson_nl.tracklets.filters import Filters
    from luperson_nl.tracklets.tracker import Tracker
    from shared_utils import UserError, distributed

    boxes = reports.one_of(det=det, tracks=tracks, lup_dets=lup_dets)
    tracker = Tracker(sure=sure, patience=patience)
    if inspect is not None:
        print(inspection.inspect(inspect, out, gt, det_size, overwrite))
        return
    if data is None:
        print(reports.without_video(boxes, gt, tracker))
        return
    if out is None:
        raise UserError("give --out, the folder of the store")
    from luperson_nl.tracklets import building, plan

    # What the authors chose is not chosen again.
    frames, step = (1, 1) if lup_dets is not None else (200, 20)
    frames, step = min_frames if min_frames is not None else frames, stride if stride is not None else step
    filters = Filters(confidence, min_height, min_aspect, max_aspect, inside, max_overlap, frames, step)
    if keep_all or lup_dets is not None:
        filters = Filters.keep_all(frames, step)
    with distributed.process_group():
        planned = plan.make(data, boxes, gt, det_size)
        built = building.build(out, planned, filters, tracker, format, resume=resume, overwrite=overwrite)
        if distributed.rank() == 0:
            print(reports.of_build(built, planned))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(build_dataset, argv)
