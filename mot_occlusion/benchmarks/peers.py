"""Ours beside the trackers that people install, on the same detections: real trajectories with a simulated detector, and
TUD's real detections.

    python benchmarks/peers.py --data DATA     # a folder with MOT17/train and MOT15/train

Peers that are not installed are left out. Scores are of boxes alone where a name says nothing else; time is CPU
milliseconds a frame of one thread, all sequences together.
"""

import argparse
import contextlib
import io
import logging
import time
from pathlib import Path

import numpy as np

from mot_occlusion import PUBLISHED, Detections, Tracker
from mot_occlusion.data import mot_format
from mot_occlusion.data.detection_files import FileDetections
from mot_occlusion.evaluation.measures import combine, measure, scores
from mot_occlusion.evaluation.preprocess import prepare
from mot_occlusion.evaluation.simulation import GRADED, Noise, simulate_detections
from shared_utils.logging import table

SEQUENCES = ("MOT17-02", "MOT17-05", "MOT17-09", "MOT17-11")


def ours(looks=False, **options):
    def begin(size, rate):
        tracker = Tracker(size, rate, **options)

        def step(found):
            tracks = tracker.update(found if looks else Detections(found.boxes, found.scores))
            return tracks.ids, tracks.boxes

        return step

    return begin


def boxmot(module, name, **options):
    def begin(size, rate):
        import importlib

        kind = getattr(importlib.import_module(f"boxmot.trackers.box.{module}.tracker"), name)
        tracker, picture = kind(**options), np.zeros((*size, 3), np.uint8)

        def step(found):
            rows = np.column_stack([found.boxes, found.scores, np.zeros(len(found.scores))]).astype(np.float32)
            out = np.asarray(tracker.update(rows, picture))
            out = out.reshape(-1, out.shape[-1] if out.size else 8)
            return out[:, 4].astype(int), out[:, :4]

        return step

    return begin


def trackers(name):
    def begin(size, rate):
        import supervision
        import trackers as package

        tracker = getattr(package, name)(frame_rate=rate)

        def step(found):
            given = supervision.Detections(
                xyxy=np.asarray(found.boxes, np.float32).reshape(-1, 4),
                confidence=np.asarray(found.scores, np.float32),
                class_id=np.zeros(len(found.scores), int),
            )
            out = tracker.update(given)
            known = out.tracker_id >= 0 if out.tracker_id is not None else np.zeros(0, bool)
            return out.tracker_id[known], out.xyxy[known]

        return step

    return begin


CANDIDATES = {
    "ours, default": ours(),
    "ours, default, with embeddings and centres": ours(looks=True),
    "ours, published": ours(**PUBLISHED),
    "ours, published, with embeddings and centres": ours(looks=True, **PUBLISHED),
    "boxmot ByteTrack": boxmot("bytetrack", "ByteTrack"),
    "boxmot BoT-SORT (no camera motion, no re-ID)": boxmot("botsort", "BotSort", use_embeddings=False, use_cmc=False),
    "boxmot OC-SORT": boxmot("ocsort", "OcSort"),
    "trackers ByteTrack": trackers("ByteTrackTracker"),
    "trackers SORT": trackers("SORTTracker"),
}


def simulated(data, noise):
    for name in SEQUENCES:
        folder = next(path for path in sorted((data / "MOT17" / "train").iterdir()) if path.name.startswith(name))
        info, gt = mot_format.read_seqinfo(folder), mot_format.read_gt(folder / "gt" / "gt.txt")
        size = info.height, info.width
        yield gt, info.length, size, info.frame_rate, simulate_detections(gt, info.length, size, 0, noise), "mot17"


def tud(data):
    for name in ("TUD-Campus", "TUD-Stadtmitte"):
        folder = data / "MOT15" / "train" / name
        gt, size = mot_format.read_gt(folder / "gt" / "gt.txt"), (480, 640)
        length = int(gt.frames[-1])
        given = FileDetections(folder / "det" / "det.txt", size, None)
        yield gt, length, size, 25.0, [given.of_frame(frame) for frame in range(1, length + 1)], "mot15"


def row(name, begin, sequences):
    counts, spent, frames = [], 0.0, 0
    for gt, length, size, rate, detections, preset in sequences:
        with contextlib.redirect_stdout(io.StringIO()):
            step = begin(size, rate)
            columns = []
            moment = time.process_time()
            for number, found in enumerate(detections, 1):
                ids, boxes = step(found)
                columns += [(number, identity, *box) for identity, box in zip(ids, boxes, strict=True)]
            spent += time.process_time() - moment
        frames += length
        rows = np.array(columns, float).reshape(-1, 6)
        boxes = np.column_stack([rows[:, 2:4], rows[:, 4:] - rows[:, 2:4]])
        ones = np.ones(len(rows))
        results = mot_format.Rows(rows[:, 0].astype(int), rows[:, 1].astype(int), boxes, ones, ones.astype(int), ones)
        counts.append(measure(prepare(gt, results, length, preset)))
    found = scores(combine(counts))
    shares = {key: f"{100 * found[key]:.1f}" for key in ("HOTA", "MOTA", "IDF1")}
    return {"tracker": name, **shares, "IDSW": int(found["IDSW"]), "ms a frame": f"{1000 * spent / frames:.2f}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    logging.disable(logging.WARNING)
    for title, sequences in (
        ("sure detections (scores .6 to 1)", list(simulated(data, Noise()))),
        ("scores and box noise following the visibility, false alarms", list(simulated(data, GRADED))),
        ("TUD, real detections", list(tud(data))),
    ):
        rows = []
        for name, begin in CANDIDATES.items():
            try:
                rows.append(row(name, begin, sequences))
            except ImportError as error:
                print(f"{name}: left out, {error}")
        print(table(rows, title), flush=True)


if __name__ == "__main__":
    main()
