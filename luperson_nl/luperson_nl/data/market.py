"""Data sets of person re-identification in the layouts that people have on disk.

``read(root)`` finds out which it is: the Market-1501 family (``bounding_box_train``, ``query``, ``bounding_box_test``), raw
MSMT17 with its lists, own folders ``id/picture``, a CSV file, or shards of webdataset.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from luperson_nl.data import own_pictures, webdataset
from luperson_nl.data.image_lists import UNKNOWN, Found, ImageList, image_list
from shared_utils import UserError

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
FOLDERS = {
    "market1501": ("market1501", "Market-1501-v15.09.15"),
    "duke": ("duke", "DukeMTMC-reID"),
    "msmt17": ("msmt17", "MSMT17", "MSMT17_V1", "MSMT17_V2"),
    "cuhk03_np/labeled": ("cuhk03_np/labeled",),
    "cuhk03_np/detected": ("cuhk03_np/detected",),
}
"""Names of data sets, and the folders in which each is looked for below a root."""
LISTS = {"train": ("list_train.txt", "list_val.txt"), "query": ("list_query.txt",), "gallery": ("list_gallery.txt",)}

_NAME = re.compile(r"(-?\d+)_c(\d+)")
_MARKET_FRAME = re.compile(r"_c\d+s(\d+)_(\d+)")  # sequence of the camera, frame of the sequence
_DUKE_FRAME = re.compile(r"_c\d+_f(\d+)")


@dataclass(frozen=True)
class ReidData:
    """A data set: its three parts, with what was found on disk.

    Args:
        root: the folder that the parts were read from (of a CSV file, the folder it is in).
        train, query, gallery: the parts; one that is not there is empty.
        found: counts of pictures by ending, and of what was left out.
    """

    root: Path
    train: ImageList
    query: ImageList
    gallery: ImageList
    found: Found

    def report(self) -> str:
        """One line a part, and one about the files."""
        parts = {"train": self.train, "query": self.query, "gallery": self.gallery}
        lines = [f"{name:7} {part.num_ids:6,} persons {len(part):8,} pictures" for name, part in parts.items()]
        return "\n".join([f"{self.root}: {self.found}", *lines])


def read(root: str | Path, name: str | None = None) -> ReidData:
    """Read the lists of a data set; no picture is opened.

    Args:
        root: the data set's folder, or one above it, or a CSV file.
        name: which data set below ``root``, one of ``FOLDERS``; needed only where there are several.

    Raises:
        UserError: nothing is found, or several without a name; a picture's name holds no camera; a list names a picture
            that is not there.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"{root} not found: check the path")
    if root.is_file():
        return _own(root.parent, *own_pictures.read_csv(root))
    folder = _locate(root, name)
    if folder is None:
        layout = webdataset.read if webdataset.shards_of(root) else own_pictures.read_folders
        return _own(root, *layout(root))
    return _raw_msmt17(folder) if (folder / LISTS["train"][0]).is_file() else _market(folder)


#: ``read`` under the name that says what it reads, for ``from luperson_nl import read_reid_data``.
read_reid_data = read


def _own(root: Path, parts: dict[str, ImageList], found: Found) -> ReidData:
    return ReidData(root, parts["train"], parts["query"], parts["gallery"], found)


def is_family(folder: Path) -> bool:
    """Whether a folder is a data set of the Market-1501 family, or raw MSMT17."""
    return any((folder / part).is_dir() for part in (TRAIN, GALLERY)) or (folder / LISTS["train"][0]).is_file()


def _locate(root: Path, name: str | None) -> Path | None:
    """The folder of a data set of the family; None where the root is of another layout."""
    if name is not None and name not in FOLDERS:
        raise UserError(f"no data set is called {name!r}: known are {', '.join(FOLDERS)}")
    if is_family(root):
        return root
    names = FOLDERS if name is None else {name: FOLDERS[name]}
    below = [root / folder for folders in names.values() for folder in folders if is_family(root / folder)]
    if name is None:  # the parts of CUHK03-NP, given its own folder
        below += [root / part for part in ("labeled", "detected") if is_family(root / part)]
    if len(below) > 1:
        raise UserError(f"{root} holds several data sets ({', '.join(map(str, below))}): give the folder of one")
    if below:
        return below[0]
    if name is not None:
        places = " or ".join(str(root / folder / TRAIN) for folder in FOLDERS[name])
        raise UserError(f"{places} not found: {name} has {TRAIN}, {QUERY} and {GALLERY} there (see README.md)")
    return None


def identity_of(path: Path) -> tuple[int, int] | None:
    """(pid, camera) of a name of the Market family, ``0002_c1s1_000451_03.jpg``; None where it is of another kind."""
    found = _NAME.match(path.name)
    return None if found is None else (int(found[1]), int(found[2]))


def moment_of(path: Path, camera: int) -> tuple[int, int]:
    """(video, frame) where the name of a picture has them, as Market-1501's and Duke's do; else -1 twice."""
    if found := _MARKET_FRAME.search(path.name):
        return camera * 1000 + int(found[1]), int(found[2])
    if found := _DUKE_FRAME.search(path.name):
        return camera * 1000, int(found[1])
    return UNKNOWN, UNKNOWN


def _market(root: Path) -> ReidData:
    found = Found()

    def part(name: str) -> ImageList:
        folder = root / name
        if not folder.is_dir():
            return image_list([])
        rows = []
        for path in found.pictures(folder):
            known = identity_of(path)
            if known is None:
                raise UserError(
                    f"{path} has no person and camera in its name: expected names as 0002_c1s1_000451_03.jpg (person 2, "
                    "camera 1); take it out, or list your pictures in a CSV file (path, pid, camid, split)"
                )
            if known[0] == -1:
                found.dropped["with the id -1"] += 1
                continue
            rows.append((str(path), *known, *moment_of(path, known[1])))
        return image_list(rows)

    train, query, gallery = part(TRAIN), part(QUERY), part(GALLERY)
    if not any(map(len, (train, query, gallery))):
        raise UserError(f"{root} holds no picture in {TRAIN}, {QUERY} or {GALLERY}: copy the data set again")
    return ReidData(root, train, query, gallery, found)


def _raw_msmt17(root: Path) -> ReidData:
    """MSMT17_V1 and V2: lists of ``0000/0000_000_01_0303morning_0008_0.jpg 0``; the camera is the third field."""
    found = Found()
    folders = {
        "train": ("train", "mask_train_v2"),
        "query": ("test", "mask_test_v2"),
        "gallery": ("test", "mask_test_v2"),
    }

    def part(name: str) -> ImageList:
        rows = []
        for file in (root / each for each in LISTS[name]):
            if not file.is_file():
                if file.name == "list_val.txt":
                    continue
                raise UserError(f"{file} not found: raw MSMT17 has {', '.join(sum(LISTS.values(), ()))} in one folder")
            folder = next((root / each for each in folders[name] if (root / each).is_dir()), None)
            if folder is None:
                raise UserError(f"{root / folders[name][0]} not found: it holds the pictures of {file.name}")
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if not line.strip():
                    continue
                picture, _, label = line.strip().rpartition(" ")
                path = folder / picture
                fields = path.name.split("_")
                if not label.isdigit() or len(fields) < 4 or not fields[2].isdigit():
                    raise UserError(
                        f"{file}, line {number}: {line.strip()!r} is not a picture and its label, as in "
                        "0000/0000_000_01_0303morning_0008_0.jpg 0"
                    )
                if not path.is_file():
                    raise UserError(f"{file}, line {number} names {path}, which is not there: copy the data set again")
                found.endings[path.suffix] += 1
                rows.append((str(path), int(label), int(fields[2])))
        return image_list(rows)

    return ReidData(root, part("train"), part("query"), part("gallery"), found)
