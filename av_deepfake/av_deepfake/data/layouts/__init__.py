"""Which layout a labelled set has, and its reader. Talking faces without labels: ``talking``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from av_deepfake.data.layouts import forensics, lists, test_sets
from av_deepfake.data.videos import VideoSet
from shared_utils import UserError, files

Layout = Literal[
    "list",
    "faceforensics",
    "lipforensics",
    "deeperforensics",
    "celeb_df",
    "dfdc",
    "dfdc_all",
    "fakeavceleb",
    "realforensics",
    "deepfakebench",
]
LAYOUTS: tuple[str, ...] = get_args(Layout)


def open_set(
    root: str | Path,
    layout: Layout | None = None,
    split: str = "test",
    compression: str = "c23",
    base: str | Path | None = None,
) -> VideoSet:
    """The videos of a labelled set; both classes are there.

    Args:
        root: its folder, or the list file.
        layout: found out where None.
        split: of FaceForensics++ (train, val, test, or a JSON of pairs) and of DeepfakeBench.
        compression: of FaceForensics++: c0, c23, c40.
        base: of list files: what relative paths begin at.

    Raises:
        UserError: there is no such set, its layout is another one, or a class has no video.
    """
    place, start = Path(root).expanduser(), None if base is None else Path(base)
    if not place.exists():
        raise UserError(f"{place} not found: check the path")
    layout = layout or _recognised(place)
    if (layout in ("list", "realforensics", "deepfakebench")) != place.is_file():
        raise UserError(f"{place}: the layout {layout} is a {'folder' if place.is_file() else 'file'}")
    if layout == "list":
        found = lists.listed(place, start)
    elif layout == "realforensics":
        found = lists.real_forensics(place, start)
    elif layout == "deepfakebench":
        found = lists.deepfakebench(place, split, compression, start)
    elif layout == "faceforensics":
        found = forensics.official(place, split, compression)
    elif layout == "lipforensics":
        found = forensics.lipforensics(place, split, compression)
    elif layout == "deeperforensics":
        found = forensics.deeper_forensics(place)
    elif layout == "celeb_df":
        found = test_sets.celeb_df(place)
    elif layout == "fakeavceleb":
        found = test_sets.fake_av_celeb(place)
    else:
        found = test_sets.dfdc(place, listed_only=layout == "dfdc")
    return found.checked()


def _recognised(place: Path) -> Layout:
    if place.is_file():
        if lists.is_real_forensics(place):
            return "realforensics"
        if place.suffix == ".json":
            return "list" if isinstance(files.read_json(place, "list of videos"), list) else "deepfakebench"
        return "list"
    if (place / "original_sequences").is_dir():
        return "faceforensics"
    if (place / "Forensics").is_dir() or (place / "RealFF").is_dir():
        return "lipforensics"
    if (place / "List_of_testing_videos.txt").is_file() or (place / "RealCelebDF").is_dir():
        return "celeb_df"
    if (place / "manipulated_videos").is_dir():
        return "deeperforensics"
    if next(place.glob("*Video-*Audio"), None):
        return "fakeavceleb"
    if next(place.rglob("metadata.json"), None) or next(place.rglob("labels.csv"), None):
        return "dfdc"
    raise UserError(
        f"{place} is of no known layout: name it ({', '.join(LAYOUTS)}), or give a list file path,label,method,video_id"
    )
