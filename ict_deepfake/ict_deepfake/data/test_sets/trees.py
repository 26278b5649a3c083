"""Folders of videos as the data sets are distributed: FaceForensics++ and DFD, Celeb-DF, DeeperForensics, DFDC."""

from __future__ import annotations

import csv
from pathlib import Path

from ict_deepfake.data.test_sets.sets import FAKE, REAL, Clip, TestSet, clips_of, folder_needed, videos_below
from shared_utils import UserError, files


def no_mask(path: Path) -> None:
    """Of data sets that have no masks."""


def face_forensics(root: Path, compression: str, split: Path | None, masks: bool) -> TestSet:
    """FaceForensics++, and DeepFakeDetection where its folders are there.

    Args:
        root: with ``original_sequences`` and ``manipulated_sequences``.
        compression: raw, c23 or c40.
        split: JSON of pairs of ids, whose videos alone are taken; ``root/splits/test.json`` where None and there.
        masks: take the masks of the manipulated videos.
    """
    original = folder_needed(
        root / "original_sequences", "the tree of FaceForensics++ has it beside manipulated_sequences"
    )
    made = folder_needed(root / "manipulated_sequences", "the tree of FaceForensics++ has it beside original_sequences")
    split = split or next((path for path in (root / "splits/test.json", root / "test.json") if path.is_file()), None)
    pairs = None if split is None else _pairs(split)
    clips: list[Clip] = []
    for source in sorted(path for path in original.iterdir() if path.is_dir()):
        videos = videos_below(source / compression / "videos")
        if pairs is not None and source.name == "youtube":
            ids = {each for pair in pairs for each in pair}
            videos = [path for path in videos if path.stem in ids]
        clips += [Clip(f"original/{source.name}/{path.stem}", REAL, "real", file=path) for path in videos]
    for method in sorted(path for path in made.iterdir() if path.is_dir()):
        videos = videos_below(method / compression / "videos")
        if pairs is not None and method.name != "DeepFakeDetection":
            videos = [path for path in videos if tuple(path.stem.split("_")) in pairs]
        place = method / "masks" / "videos"

        def mask(path: Path, place: Path = place) -> Path | None:
            return place / path.name if masks and (place / path.name).is_file() else None

        clips += clips_of(videos, FAKE, method.name, lambda path: path.stem, mask)
    if not clips:
        there = sorted({path.name for path in root.glob("*_sequences/*/*")})
        raise UserError(
            f"{root}: no video in */{compression}/videos; there is {', '.join(there) or 'nothing'}: see --compression"
        )
    return TestSet(f"FaceForensics++ {compression}", clips)


def _pairs(split: Path) -> set[tuple[str, str]]:
    content = files.read_json(split, "split of FaceForensics++")
    if not isinstance(content, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in content):
        raise UserError(f'{split} is not a split of FaceForensics++: expected [["000", "003"], ...]')
    pairs = {(str(first), str(second)) for first, second in content}
    return pairs | {(second, first) for first, second in pairs}


def celeb_df(root: Path) -> TestSet:
    """Celeb-DF v1 or v2: the videos of ``List_of_testing_videos.txt``, whose first column is 1 for real."""
    listing = root / "List_of_testing_videos.txt"
    if not listing.is_file():
        raise UserError(f"{listing} not found: Celeb-DF has it beside Celeb-real, YouTube-real and Celeb-synthesis")
    clips, missing = [], []
    for number, line in enumerate(listing.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        flag, _, name = line.strip().partition(" ")
        name = name.strip()
        if flag not in ("0", "1") or not name:
            raise UserError(f"{listing}, line {number}: expected 1 (real) or 0 (fake) and a path, got {line!r}")
        label = REAL if flag == "1" else FAKE
        path = root / name
        if not path.is_file():
            missing.append(name)
            continue
        clips.append(Clip(name.rsplit(".", 1)[0], label, "real" if label == REAL else Path(name).parts[0], file=path))
    return TestSet("Celeb-DF", clips, missing)


def deeper_forensics(root: Path) -> TestSet:
    """DeeperForensics: ``source_videos`` are real, each folder of ``manipulated_videos`` is a variant."""
    source = folder_needed(root / "source_videos", "DeeperForensics has it beside manipulated_videos")
    made = folder_needed(root / "manipulated_videos", "DeeperForensics has it beside source_videos")
    clips = clips_of(videos_below(source), REAL, "real", lambda path: _below(path, source), no_mask)
    for variant in sorted(path for path in made.iterdir() if path.is_dir()):
        clips += clips_of(videos_below(variant), FAKE, variant.name, lambda path, v=variant: _below(path, v), no_mask)
    return TestSet("DeeperForensics", clips)


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def dfdc(root: Path) -> TestSet:
    """DFDC: folders of videos with ``metadata.json`` (name: label REAL or FAKE) or ``labels.csv`` (filename, label)."""
    listings = sorted([*root.rglob("metadata.json"), *root.rglob("labels.csv")])
    if not listings:
        raise UserError(f"{root} holds no metadata.json and no labels.csv: DFDC has one beside its videos")
    clips, missing = [], []
    for listing in listings:
        for name, label in (_metadata if listing.suffix == ".json" else _labels)(listing):
            path = next((p for p in (listing.parent / name, listing.parent / "videos" / name) if p.is_file()), None)
            shown = (listing.parent / name).relative_to(root).as_posix()
            if path is None:
                missing.append(shown)
            else:
                clips.append(Clip(shown.rsplit(".", 1)[0], label, "fake" if label else "real", file=path))
    return TestSet("DFDC", clips, missing)


def _metadata(path: Path) -> list[tuple[str, int]]:
    content = files.read_json(path, "metadata of DFDC")
    try:
        return [(name, {"REAL": REAL, "FAKE": FAKE}[entry["label"]]) for name, entry in content.items()]
    except (AttributeError, KeyError, TypeError):
        raise UserError(
            f'{path} is not the metadata of DFDC: expected {{"name.mp4": {{"label": "REAL" or "FAKE"}}}}'
        ) from None


def _labels(path: Path) -> list[tuple[str, int]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            return [(row["filename"], {"0": REAL, "1": FAKE}[row["label"].strip()]) for row in csv.DictReader(file)]
        except (KeyError, AttributeError):
            raise UserError(f"{path}: expected the columns filename and label (0 real, 1 fake)") from None
