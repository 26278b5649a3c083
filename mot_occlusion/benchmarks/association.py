"""Time of tracking per frame: ours beside the published way (equal output), and beside ByteTrack of boxmot.

    OMP_NUM_THREADS=1 python benchmarks/association.py [--boxmot PYTHON]
    OMP_NUM_THREADS=1 python benchmarks/association.py --endless_run

One thread, CPU time of the process, networks left out. boxmot is not a dependency of ours: PYTHON is the interpreter of an
environment that has it (``pip install boxmot``); it gets the same boxes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mot_occlusion.detections import Detections
from mot_occlusion.tracking import PUBLISHED, Tracker
from shared_utils import cli

SIZE = (1080, 1920)

BOXMOT = """
import contextlib, io, sys, time
import numpy as np
with contextlib.redirect_stdout(io.StringIO()):
    from boxmot import ByteTrack
    tracker = ByteTrack(track_thresh=0.4, track_buffer=30, frame_rate=30)
image = np.zeros((1080, 1920, 3), np.uint8)
data = np.load(sys.argv[1])
warm = int(sys.argv[2])
frames = [np.column_stack([data[f"boxes{i}"], data[f"scores{i}"], np.zeros(len(data[f"scores{i}"]))]).astype(np.float32)
          for i in range(int(data["frames"]))]
for number, frame in enumerate(frames):
    if number == warm:
        start = time.process_time()
    tracker.update(frame, image)
print((time.process_time() - start) / (len(frames) - warm))
"""


def crowd(count: int, frames: int, seed: int = 0, dimension: int = 128, centres: bool = True):
    """Walkers at constant velocity that turn back at the borders, 7 % of them missed in every frame, some doubly found."""
    rng = np.random.default_rng(seed)
    height, width = SIZE
    size = np.column_stack([0.4 * (h := rng.uniform(60, 160, count)), h])
    place = rng.uniform(0, 1, (count, 2)) * (np.array([width, height]) - size)
    speed = rng.normal(0, 3, (count, 2))
    looks = rng.standard_normal((count, dimension))
    for _ in range(frames):
        place += speed
        beyond = (place < 0) | (place + size > [width, height])
        speed[beyond] *= -1
        noisy = place + rng.normal(0, 1, place.shape)
        boxes = np.concatenate([noisy, noisy + size * np.exp(rng.normal(0, 0.01, size.shape))], axis=1)
        seen = np.flatnonzero(rng.random(count) >= 0.07)
        scores = rng.uniform(0.45, 1, count)
        seen = seen[np.argsort(-scores[seen])]
        embeddings = looks[seen] + 0.4 * rng.standard_normal((len(seen), dimension))
        spots = rng.uniform(0, 1, (count // 4, 2)) * [width, height] if centres else np.empty((0, 2))
        yield Detections(
            boxes[seen].astype(np.float32),
            scores[seen].astype(np.float32),
            embeddings.astype(np.float32),
            spots.astype(np.float32),
        )


def measure(count: int, frames: int, warm: int, boxmot: str | None) -> dict[str, float | int | None]:
    """Milliseconds a frame of every way, on the same detections."""
    from published_tracker import PublishedTracker

    detections = list(crowd(count, frames))
    ours, alone, published = Tracker(SIZE, **PUBLISHED), Tracker(SIZE), PublishedTracker(SIZE)
    ways = {
        "ours": ours.update,
        "ours, boxes only": lambda one: alone.update(Detections(one.boxes, one.scores)),
        "published": lambda one: published.update(one.boxes, one.scores, one.embeddings, one.centres),
    }
    milliseconds, outputs = {}, {}
    for name, update in ways.items():
        outputs[name] = [update(one) for one in detections[:warm]]
        start = time.process_time()
        outputs[name] += [update(one) for one in detections[warm:]]
        milliseconds[name] = 1000 * (time.process_time() - start) / (frames - warm)
    for number, (tracks, rows) in enumerate(zip(outputs["ours"], outputs["published"], strict=True), 1):
        same = np.array_equal(rows[:, 0], tracks.ids) and np.array_equal(rows[:, 6], tracks.states)
        if not same or np.abs(rows[:, 1:5] - tracks.boxes).max(initial=0) > 1e-6:
            sys.exit(f"frame {number} with {count} objects: the outputs differ")
    if boxmot:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "detections.npz"
            arrays = {f"{key}{i}": getattr(one, key) for i, one in enumerate(detections) for key in ("boxes", "scores")}
            np.savez(file, frames=frames, **arrays)
            done = subprocess.run([boxmot, "-c", BOXMOT, str(file), str(warm)], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{boxmot} failed:\n{done.stderr}")
            milliseconds["boxmot ByteTrack"] = 1000 * float(done.stdout.split()[-1])
    return milliseconds


def resident() -> float:
    """MiB of memory that the process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def endless(count: int = 100, frames: int = 10_000) -> None:
    """A long run: time a frame and memory, by tenths of it."""
    tracker, spent, rows = Tracker(SIZE), 0.0, []
    for number, one in enumerate(crowd(count, frames), 1):
        start = time.process_time()
        tracker.update(one)
        spent += time.process_time() - start
        if number % (frames // 10) == 0:
            rows.append((number, 1000 * spent / (frames // 10), resident()))
            spent = 0.0
    print(f"\n{frames} frames of {count} objects\n  frame  ms/frame  MiB resident")
    for number, milliseconds, memory in rows:
        print(f"{number:7d}  {milliseconds:8.2f}  {memory:12.1f}")


def association(boxmot: str | None = None, frames: int = 60, endless_run: bool = False) -> None:
    """Compare the time of tracking per frame.

    Args:
        boxmot: the Python of an environment with boxmot; left out where not given.
        frames: of the comparison; the first third warms up.
        endless_run: run 10 000 frames of 100 objects instead.
    """
    if endless_run:
        endless()
        return
    print("ms per frame, one thread, CPU time; with embeddings (128) and occlusion centres unless stated otherwise")
    for count in (20, 100, 300):
        found = measure(count, frames, frames // 3, boxmot)
        print(f"{count:4d} objects: " + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
        ratios = [f"published / ours {found['published'] / found['ours']:.1f}"]
        if "boxmot ByteTrack" in found:
            ratios.append(f"boxmot / ours {found['boxmot ByteTrack'] / found['ours']:.1f}")
            ratios.append(f"boxmot / ours, boxes only {found['boxmot ByteTrack'] / found['ours, boxes only']:.1f}")
        print("              " + ", ".join(ratios))


if __name__ == "__main__":
    sys.exit(cli.run(association))
