"""What is reported of a tracked source: statistics and two figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mot_occlusion import figures
from mot_occlusion.data.result_files import read_tracks


def count_tracks(results: Path, num_frames: int) -> dict[str, Any]:
    """Identities, boxes and lengths of tracks in a file of results."""
    rows, recovered = read_tracks(results)
    lengths = np.unique(rows.ids, return_counts=True)[1]
    return {
        "identities": len(lengths),
        "boxes": len(rows.frames),
        "recovered_boxes": int(recovered.sum()),
        "people_per_frame": len(rows.frames) / max(1, num_frames),
        "median_track_length": float(np.median(lengths)) if len(lengths) else 0.0,
    }


def draw_tracks(results: Path, size: tuple[int, int], image: np.ndarray) -> None:
    """``<name>_trajectories.png`` over an image, and ``<name>_timeline.png``, beside the results; none without boxes."""
    rows, recovered = read_tracks(results)
    if not len(rows.frames):
        return
    out, name = results.parent, results.stem
    title = f"{name}: {len(np.unique(rows.ids))} identities"
    trajectories = out / f"{name}_trajectories.png"
    figures.trajectories(trajectories, rows.frames, rows.ids, rows.boxes, recovered, size, image, title)
    figures.timeline(out / f"{name}_timeline.png", rows.frames, rows.ids, recovered, title)
