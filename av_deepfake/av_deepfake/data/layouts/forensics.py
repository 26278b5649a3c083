"""FaceForensics++ in both trees, with FaceShifter and DeeperForensics, and the official splits.

The official tree: ``original_sequences/youtube/c23/videos/000.mp4``, ``manipulated_sequences/Deepfakes/c23/videos/000_003.mp4``.
LipForensics' tree: ``Forensics/{RealFF,Deepfakes,...}/c23/cropped_mouths/000_003/0000.png``, or ``images`` in place of the crops.
"""

from __future__ import annotations

from pathlib import Path

from av_deepfake.data.layouts.finding import entries, first_folder, identity_pairs, videos_below
from av_deepfake.data.videos import FAKE, REAL, Video, VideoSet
from shared_utils import UserError

METHODS = ("Deepfakes", "FaceSwap", "Face2Face", "NeuralTextures")
MORE = ("FaceShifter", "DeeperForensics")
COMPRESSIONS = ("c0", "c23", "c40")


def official(root: Path, split: str, compression: str) -> VideoSet:
    """The official tree; c0 is called ``raw`` too."""
    folder = first_folder(root / "original_sequences/youtube" / name / "videos" for name in _names(compression))
    if folder is None:
        raise UserError(
            f"{root}: no original_sequences/youtube/{compression}/videos (the layout of FaceForensics++, whose authors give "
            "the script that downloads it)"
        )
    methods = {
        name: first_folder(root / "manipulated_sequences" / name / c / "videos" for c in _names(compression))
        for name in (*METHODS, *MORE)
    }
    return _split("FaceForensics++", root, folder, methods, split)


def lipforensics(root: Path, split: str, compression: str) -> VideoSet:
    """The tree of LipForensics; the root is ``Forensics`` or what it lies in."""
    base = root / "Forensics" if (root / "Forensics").is_dir() else root
    kinds = ("cropped_mouths", "videos", "images")
    real = first_folder(base / "RealFF" / compression / kind for kind in kinds)
    if real is None:
        raise UserError(f"{base}: no RealFF/{compression}/cropped_mouths (the layout of LipForensics)")
    methods = {name: first_folder(base / name / compression / kind for kind in kinds) for name in (*METHODS, *MORE)}
    return _split("FaceForensics++", root, real, methods, split)


def _names(compression: str) -> tuple[str, ...]:
    if compression not in COMPRESSIONS:
        raise UserError(f"no compression {compression!r}: {', '.join(COMPRESSIONS)}")
    return ("c0", "raw") if compression == "c0" else (compression,)


def _split(name: str, root: Path, real: Path, methods: dict[str, Path | None], split: str) -> VideoSet:
    """Real videos are both ids of a pair, fakes ``a_b`` and ``b_a``; DeeperForensics names begin with the target's id."""
    pairs = identity_pairs(split)
    videos: list[Video] = []
    missing: list[str] = []

    def add(found: dict[str, Path], wanted: str, label: int, method: str) -> None:
        if wanted in found:
            videos.append(Video(found[wanted], label, method, wanted))
        else:
            missing.append(f"{method}/{wanted}")

    originals = entries(real)
    ids = [each for pair in pairs for each in pair]
    for each in ids:
        add(originals, each, REAL, "real")
    for method, folder in methods.items():
        if folder is None:
            continue
        found = entries(folder)
        if method == "DeeperForensics":
            by_target = {stem.split("_")[0]: stem for stem in found}
            for each in ids:
                add(found, by_target.get(each, each), FAKE, method)
            continue
        for a, b in pairs:
            add(found, f"{a}_{b}", FAKE, method)
            add(found, f"{b}_{a}", FAKE, method)
    return VideoSet(name, root, videos, missing)


def deeper_forensics(root: Path) -> VideoSet:
    """DeeperForensics-1.0: ``manipulated_videos/{kind}/*.mp4`` and ``source_videos`` or ``original_videos``."""
    videos = [
        Video(path, FAKE, "DeeperForensics", path.relative_to(root).with_suffix("").as_posix())
        for path in videos_below(root / "manipulated_videos")
    ]
    for folder in ("original_videos", "source_videos"):
        videos += [
            Video(path, REAL, "real", path.relative_to(root).with_suffix("").as_posix())
            for path in videos_below(root / folder)
        ]
    return VideoSet("DeeperForensics", root, videos)
