"""Identity data sets on disk: folders, lists, RecordIO of both makers, and what is refused."""

import io
import json
import pickle

import numpy as np
import pytest
import record_writer
from PIL import Image

from ict_deepfake.data.identities import DrawnIdentities, Part, donors_only, open_identities
from ict_deepfake.data.recordio import RecordFile
from ict_deepfake.faces.landmark_files import landmark_file
from shared_utils import UserError


def picture(value=100, size=(12, 10), kind="png"):
    stream = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(stream, kind)
    return stream.getvalue()


def folder(root, **people):
    for name, count in people.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(picture(10 * number))
    return root


def insightface(folder, people=((3, 2), (7, 1))):
    """Pictures 1.., then a record an identity, then what key 0 points to."""
    entries, ranges, key = [], [], 1
    for label, count in people:
        for number in range(count):
            entries.append((key + number, record_writer.packed(picture(label * 10 + number), label, 0)))
        ranges.append((key, key + count))
        key += count
    entries += [(key + number, record_writer.packed(b"", *span)) for number, span in enumerate(ranges)]
    return record_writer.write(folder, [(0, record_writer.packed(b"", key, key + len(ranges))), *entries])


def test_a_folder_an_identity(tmp_path):
    source = open_identities(folder(tmp_path, bob=2, al=1))
    assert source.names == ["al", "bob"] and source.identity.tolist() == [0, 1, 1]
    assert source.image(2).shape == (12, 10, 3) and source.image(2)[0, 0, 0] == 10
    assert source.points(0) is None
    assert donors_only(source.identity).tolist() == [True, False, False]


def test_landmarks_of_a_file_belong_to_pictures_of_a_folder(tmp_path):
    (tmp_path / "points.json").write_text(json.dumps({"b/0.png": np.arange(136.0).reshape(68, 2).tolist()}))
    source = open_identities(folder(tmp_path / "people", a=1, b=1), landmark_file(tmp_path / "points.json"))
    assert source.points(0) is None and source.points(1).shape == (68, 2)


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_list_with_landmarks(kind, tmp_path):
    folder(tmp_path / "pictures", a=1, b=2)
    names = [f"{axis}{i}" for i in range(1, 6) for axis in "xy"]
    rows = [
        {"path": "pictures/a/0.png", "identity": "9", **dict(zip(names, range(10), strict=True))},
        {"path": "pictures\\b\\1.png", "identity": "10"},
    ]
    path = tmp_path / f"list.{kind}"
    if kind == "json":
        path.write_text(json.dumps(rows))
    else:
        lines = [",".join(["path", "identity", *names])]
        lines += [",".join(str(row.get(name, "")) for name in ["path", "identity", *names]) for row in rows]
        path.write_text("\n".join(lines))
    source = open_identities(path)
    assert source.names == ["9", "10"] and source.identity.tolist() == [0, 1]
    assert source.points(0).tolist() == np.arange(10.0).reshape(5, 2).tolist() and source.points(1) is None
    assert source.image(1)[0, 0, 0] == 10


def test_insightface_records(tmp_path):
    source = open_identities(insightface(tmp_path / "set"))
    assert source.names == ["3", "7"] and source.identity.tolist() == [0, 0, 1]
    assert [source.image(i)[0, 0, 0] for i in range(3)] == [30, 31, 70]
    assert source.points(0).shape == (5, 2)


@pytest.mark.parametrize("index", [True, False])
def test_im2rec_records(index, tmp_path):
    entries = [(0, record_writer.packed(picture(1), 5.0)), (1, record_writer.packed(picture(2), 4.0))]
    source = open_identities(record_writer.write(tmp_path / "set", entries, index))
    assert source.names == ["4", "5"] and source.identity.tolist() == [1, 0]
    assert [source.image(i)[0, 0, 0] for i in range(2)] == [1, 2]


@pytest.mark.parametrize("places", [[0], [4], [24], [28, 40], [8, 12, 16]])
def test_records_that_hold_the_magic_are_joined_again(places, tmp_path):
    data = bytearray(record_writer.packed(bytes(range(40)), 6.0))
    for place in places:
        data[place : place + 4] = record_writer.MAGIC
    record_writer.write(tmp_path, [(0, record_writer.packed(b"abc", 1.0)), (1, bytes(data)), (2, b"x" * 30)])
    file = RecordFile(tmp_path / "train.rec")
    assert file.data(1) == bytes(data) and file.data(2) == b"x" * 30
    if min(places) >= 24:
        assert file.first_labels(np.array([0, 1])).tolist() == [1, 6]
    (tmp_path / "train.idx").unlink()
    assert RecordFile(tmp_path / "train.rec").offsets.tolist() == file.offsets.tolist()


def test_a_worker_opens_the_file_itself(tmp_path):
    source = open_identities(insightface(tmp_path / "set"))
    content = pickle.dumps(source)
    assert len(content) < 5000 and pickle.loads(content).image(2)[0, 0, 0] == 70


def test_one_damaged_record_is_named(tmp_path):
    entries = [(k, record_writer.packed(picture(k) if k != 1 else b"broken", float(k))) for k in range(3)]
    source = open_identities(record_writer.write(tmp_path / "set", entries))
    with pytest.raises(UserError, match="record 1"):
        source.image(1)
    assert source.image(2)[0, 0, 0] == 2


def test_a_truncated_record_file_is_refused(tmp_path):
    root = insightface(tmp_path / "set")
    whole = (root / "train.rec").read_bytes()
    (root / "train.rec").write_bytes(whole[:300])
    with pytest.raises(UserError, match="cut off|shorter"):
        source = open_identities(root)
        source.image(len(source) - 1)


def test_some_identities_of_a_source():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    source = DrawnIdentities(images, np.array([4, 4, 9, 2, 2]), None)
    part = Part(source, [2, 0])
    assert part.names == ["9", "2"] and part.identity.tolist() == [0, 1, 1]
    assert part.image(1)[0, 0, 0] == 3 and len(part) == 3
    assert part.digest() != source.digest() == DrawnIdentities(images, source.identity, None).digest()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nowhere", "not found: give a folder"),
        (lambda root: root, "one folder an identity"),
        (lambda root: folder(root, a=2), "one identity, a"),
        (lambda root: _file(root / "list.csv", "file,person\na,b"), "path, identity"),
        (
            lambda root: _file(root / "list.csv", "path,identity\ngone.png,b\nalso.png,c"),
            "2 of 2 files are missing, gone.png",
        ),
        (lambda root: _file(root / "list.json", '{"a": 1}'), "expected"),
        (lambda root: _file(root / "list.json", '[{"path": "a"}]'), "row 1: path and identity"),
        (lambda root: _file(root / "list.csv", "path,identity,x1\nlist.csv,b,5"), "row 2: x1"),
        (lambda root: _file(root / "list.txt", ""), "not a list of pictures"),
        (lambda root: _file(root / "train.rec", "").parent, "is empty"),
        (lambda root: _file(root / "train.rec", "nonsense" * 9).parent, "no record at byte 0"),
    ],
)
def test_what_is_no_data_set_is_refused(make, message, tmp_path):
    with pytest.raises(UserError, match=message):
        open_identities(make(tmp_path))


def _file(path, content):
    path.write_text(content)
    return path
