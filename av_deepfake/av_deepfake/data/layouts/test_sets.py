"""Sets that are only tested on: Celeb-DF v2, DFDC, FakeAVCeleb."""

from __future__ import annotations

import csv
from pathlib import Path

from av_deepfake.data.layouts.finding import SPLITS, entries, lines, videos_below
from av_deepfake.data.videos import FAKE, REAL, Video, VideoSet
from shared_utils import UserError, files

_CELEB_LIST = "List_of_testing_videos.txt"


def celeb_df(root: Path) -> VideoSet:
    """The official 518 test videos (1 in the list means real), or LipForensics' folders ``RealCelebDF`` and ``FakeCelebDF``."""
    if not (root / _CELEB_LIST).is_file():
        videos = []
        for folder, label, method in (("RealCelebDF", REAL, "real"), ("FakeCelebDF", FAKE, "CelebDF")):
            inside = next(
                (
                    root / folder / kind
                    for kind in ("cropped_mouths", "videos", "images")
                    if (root / folder / kind).is_dir()
                ),
                root / folder,
            )
            videos += [Video(path, label, method, name) for name, path in entries(inside).items()]
        return VideoSet("Celeb-DF v2", root, videos)
    videos, missing = [], []
    for line in lines(root / _CELEB_LIST):
        mark, name = line.split(maxsplit=1)
        path = root / name
        if not path.is_file():
            missing.append(name)
            continue
        real = mark == "1"
        videos.append(
            Video(
                path,
                REAL if real else FAKE,
                "real" if real else "CelebDF",
                path.relative_to(root).with_suffix("").as_posix(),
            )
        )
    return VideoSet("Celeb-DF v2", root, videos, missing)


def dfdc(root: Path, listed_only: bool) -> VideoSet:
    """DFDC: ``metadata.json`` {name: {"is_fake": 0|1} or {"label": "FAKE"}} or ``labels.csv`` (filename,label).

    Args:
        root: of the set.
        listed_only: only the 3215 test videos with one face that the published evaluations use.
    """
    labels = _dfdc_labels(root)
    wanted = set(lines(SPLITS / "dfdc_test.txt")) if listed_only else set(labels)
    found = {path.stem: path for path in videos_below(root)}
    for folder in ("cropped_mouths", "images"):
        found |= entries(root / folder)
    videos, missing = [], []
    for name in sorted(wanted):
        if name in found and name in labels:
            label = labels[name]
            videos.append(Video(found[name], label, "DFDC" if label else "real", name))
        else:
            missing.append(name)
    return VideoSet("DFDC", root, videos, missing)


def _dfdc_labels(root: Path) -> dict[str, int]:
    labels: dict[str, int] = {}
    for path in sorted(root.rglob("metadata.json")):
        content = files.read_json(path, "DFDC metadata")
        if not isinstance(content, dict):
            raise UserError(f'{path}: expected {{"name.mp4": {{"is_fake": 0}}}}')
        for name, facts in content.items():
            fake = facts.get("is_fake", facts.get("label")) if isinstance(facts, dict) else None
            if str(fake) not in ("0", "1", "REAL", "FAKE"):
                raise UserError(f"{path}: {name} has neither is_fake (0 or 1) nor label (REAL or FAKE)")
            labels[Path(name).stem] = FAKE if str(fake) in ("1", "FAKE") else REAL
    for path in sorted(root.rglob("labels.csv")):
        with path.open(newline="") as stream:
            for row in csv.DictReader(stream):
                labels[Path(row["filename"]).stem] = int(row["label"])
    if not labels:
        raise UserError(f"{root}: no metadata.json and no labels.csv (the layout of DFDC)")
    return labels


def fake_av_celeb(root: Path) -> VideoSet:
    """FakeAVCeleb: ``{Real,Fake}Video-{Real,Fake}Audio/race/gender/id/*.mp4``; a fake is what has a forged picture."""
    videos = []
    for folder in sorted(root.glob("*Video-*Audio")):
        fake = folder.name.startswith("FakeVideo")
        for path in videos_below(folder):
            videos.append(
                Video(
                    path,
                    FAKE if fake else REAL,
                    folder.name if fake else "real",
                    path.relative_to(root).with_suffix("").as_posix(),
                )
            )
    return VideoSet("FakeAVCeleb", root, videos)
