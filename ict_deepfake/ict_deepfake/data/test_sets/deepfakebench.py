"""DeepfakeBench's JSON: {set: {label: {train | val | test: {[c23 | c40:] {video: {"label": ..., "frames": [...]}}}}}}."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ict_deepfake.data.test_sets.sets import FAKE, REAL, Clip, RootMap, TestSet, existing
from shared_utils import UserError, files

LABELS = {
    **dict.fromkeys(("FF-real", "DFD_real", "DF_real", "real", "DFDC_Real", "DFDCP_Real", "UADFV_Real"), REAL),
    **dict.fromkeys(("CelebDFv1_real", "CelebDFv2_real", "roop_Real"), REAL),
    **dict.fromkeys(("FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FF-FH", "FF-SH", "DFD_fake", "DF_fake", "fake"), FAKE),
    **dict.fromkeys(("CelebDFv1_fake", "CelebDFv2_fake", "DFDC_Fake", "DFDCP_FakeA", "DFDCP_FakeB"), FAKE),
    **dict.fromkeys(("UADFV_Fake", "roop_Fake"), FAKE),
}
"""What the names of labels mean; others by ``labels``."""
COMPRESSIONS = ("raw", "c23", "c40")


def read(
    path: Path, split: str, compression: str, roots: RootMap, labels: Mapping[str, int], base: Path | None = None
) -> TestSet:
    """The clips of a file.

    Args:
        path: the JSON.
        split: train, val or test.
        compression: of the sets that have several.
        roots: for paths of another machine.
        labels: meaning of label names, besides ``LABELS``.
        base: what relative paths begin at; the folder of the file where None.

    Raises:
        UserError: the file has another structure, or a label's meaning is not known.
    """
    content = files.read_json(path, "data set of DeepfakeBench")
    known = {**LABELS, **labels}
    if not isinstance(content, Mapping) or not all(isinstance(value, Mapping) for value in content.values()):
        raise UserError(f'{path} is not a data set of DeepfakeBench: expected {{"SET": {{"LABEL": {{"test": ...}}}}}}')
    unknown, clips, missing = {}, [], []
    for name, video, entry in _videos(path, content, split, compression):
        label = entry.get("label", name)
        if label not in known:
            near = difflib.get_close_matches(str(label), known, n=3, cutoff=0.3)
            unknown[str(label)] = near or sorted(known)[:3]
            continue
        listed = [str(frame) for frame in entry.get("frames", ())]
        frames = existing([roots(frame, base or path.parent) for frame in listed], listed, missing)
        if frames:
            clips.append(Clip(f"{name}/{video}", known[label], str(label), frames))
    if unknown:
        listed = "; ".join(f"{label} (near: {', '.join(near)})" for label, near in unknown.items())
        raise UserError(
            f"{path}: labels of unknown meaning: {listed}; say it by --labels NAME=0 (real) or NAME=1 (fake)"
        )
    return TestSet(path.stem, clips, missing, tight=True)


def _videos(
    path: Path, content: Mapping[str, Any], split: str, compression: str
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(name of the label's group, name of the video, its entry)."""
    splits: set[str] = set()
    found = False
    for groups in content.values():
        for name, parts in groups.items():
            splits |= set(parts)
            videos = parts.get(split, {})
            if videos and set(videos) <= set(COMPRESSIONS):
                if compression not in videos:
                    raise UserError(
                        f"{path}: {name} has no {compression}, only {', '.join(videos)}: --compression says which"
                    )
                videos = videos[compression]
            for video, entry in videos.items():
                if not isinstance(entry, Mapping):
                    raise UserError(f'{path}: {name}, {video}: expected {{"label": ..., "frames": [...]}}')
                found = True
                yield name, video, entry
    if not found:
        raise UserError(f"{path}: nothing in the split {split!r}; it has {', '.join(sorted(splits)) or 'none'}")
