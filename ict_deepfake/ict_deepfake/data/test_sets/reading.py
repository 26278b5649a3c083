"""Which format a test set has, and its reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from ict_deepfake.data.test_sets import deepfakebench, lists, trees
from ict_deepfake.data.test_sets.sets import RootMap, TestSet
from shared_utils import UserError, files

Format = Literal["published", "entries", "faceforensics", "celeb_df", "deeperforensics", "dfdc", "deepfakebench"]
FORMATS: tuple[str, ...] = get_args(Format)


def open_test_set(
    data: str | Path | None = None,
    kind: Format | None = None,
    *,
    real: str | Path | None = None,
    fake: str | Path | None = None,
    split: str = "test",
    compression: str = "c23",
    root_map: Sequence[str] = (),
    labels: Mapping[str, int] | None = None,
    masks: bool = False,
) -> TestSet:
    """Read a test set; both classes are there.

    Args:
        data: the folder or JSON file of the set; of the published format, what relative paths begin at.
        kind: of ``FORMATS``; found out where None.
        real: published format: JSON list of real pictures.
        fake: likewise.
        split: of DeepfakeBench: train, val or test; of FaceForensics++ the file of pairs, where it is not in the folder.
        compression: of FaceForensics++: raw, c23 or c40.
        root_map: "OLD=NEW" for lists that were made on another machine.
        labels: meaning of label names that are not known.
        masks: take masks, which say which of several faces was changed.

    Raises:
        UserError: there is no such set; its layout is another one; a class has no clip.
    """
    roots, base = RootMap(root_map), None if data is None else Path(data).expanduser()
    if real is not None or fake is not None:
        if real is None or fake is None:
            raise UserError("--real and --fake are the two lists of one set: give both")
        if kind not in (None, "published"):
            raise UserError(f"--real and --fake are of the format published, not {kind}")
        return lists.published(Path(real), Path(fake), roots, base).checked()
    if base is None:
        raise UserError("no test set: give --data, or --real and --fake")
    if not base.exists():
        raise UserError(f"{base} not found: check the path")
    kind = kind or _recognised(base)
    if kind == "published":
        raise UserError("the published format is two lists: give them by --real and --fake")
    listed = kind in ("entries", "deepfakebench")
    if listed != base.is_file():
        raise UserError(f"{base}: the format {kind} is {'a JSON file' if listed else 'a folder'}")
    if kind == "entries":
        found = lists.entries(base, roots)
    elif kind == "deepfakebench":
        found = deepfakebench.read(base, split, compression, roots, labels or {})
    elif kind == "faceforensics":
        pairs = Path(split) if split.endswith(".json") else None
        found = trees.face_forensics(base, compression, pairs, masks)
    elif kind == "celeb_df":
        found = trees.celeb_df(base)
    elif kind == "deeperforensics":
        found = trees.deeper_forensics(base)
    else:
        found = trees.dfdc(base)
    return found.checked()


def _recognised(base: Path) -> Format:
    if base.is_file():
        content = files.read_json(base, "test set")
        return "entries" if isinstance(content, list) else "deepfakebench"
    if (base / "manipulated_sequences").is_dir() or (base / "original_sequences").is_dir():
        return "faceforensics"
    if (base / "List_of_testing_videos.txt").is_file():
        return "celeb_df"
    if (base / "manipulated_videos").is_dir():
        return "deeperforensics"
    if next(base.rglob("metadata.json"), None) or next(base.rglob("labels.csv"), None):
        return "dfdc"
    raise UserError(f"{base} is of no known layout; the formats are {', '.join(FORMATS)}: --format says which it is")
