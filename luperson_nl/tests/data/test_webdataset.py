"""Shards of other people: as a data set, as a store, and what is wrong with a sample named and counted."""

import io
import json
import tarfile

import cv2
import numpy as np
import pytest

from luperson_nl.commands.evaluate import main as evaluate
from luperson_nl.data import market, tar_pictures
from luperson_nl.data.image_lists import read_image
from luperson_nl.data.store import open_store
from luperson_nl.data.store_conversion import convert
from luperson_nl.extraction import is_store, of_anything
from shared_utils import UserError


def picture(number, ending=".png"):
    return cv2.imencode(ending, np.full((16, 8, 3), number, np.uint8))[1].tobytes()


def write(path, *files):
    """A tar of (name, content): bytes, text, or what becomes json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            content = content if isinstance(content, bytes | str) else json.dumps(content)
            content = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def people(root):
    """Two shards: persons a and b, cameras 1 and 2, in train, query and gallery."""
    rows = [(part, person, camera) for part in ("train", "query", "gallery") for person in "ab" for camera in (1, 2)]
    for shard in range(2):
        files = []
        for number, (part, person, camera) in list(enumerate(rows))[shard::2]:
            facts = {"pid": person, "camid": camera, "split": part, "frame": number}
            files += [(f"deep/{number:03d}.PNG", picture(10 * number)), (f"deep/{number:03d}.json", facts)]
        write(root / f"part-{shard}.tar", *files)
    return root


def test_shards_are_a_data_set_with_persons_cameras_and_splits(tmp_path):
    data = market.read(people(tmp_path))
    assert [len(part) for part in (data.train, data.query, data.gallery)] == [4, 4, 4]
    assert data.query.pid.tolist() == [0, 1, 0, 1] and data.query.camera.tolist() == [1, 1, 2, 2]
    assert data.gallery.frame.tolist() == [8, 10, 9, 11]
    assert "12 .PNG" in data.report()
    path = data.gallery.paths[1]
    assert str(path) == f"{tmp_path}/part-0.tar/deep/010.PNG"
    assert (read_image(path) == 100).all() and tar_pictures.is_there(path) and tar_pictures.size(path) > 0
    assert not tar_pictures.is_there(f"{tmp_path}/part-0.tar/deep/099.PNG")
    with pytest.raises(FileNotFoundError):
        tar_pictures.content(f"{tmp_path}/part-0.tar/deep/099.PNG")


def test_a_model_is_evaluated_on_shards(tmp_path, scratch):
    from pictures_on_disk import embedder

    source = people(tmp_path / "shards")
    open_store(source)  # an index beside the shards does not make them a store of crops without a query
    assert (source / "index.json").is_file() and not is_store(source)
    assert len(of_anything(source)) == 8
    given = ["--ckpt", embedder(tmp_path / "mini"), "--data", str(source), "--out", "run"]
    assert evaluate(given) == 0
    page = (scratch / "run" / "ranking.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') >= 4


def test_shards_are_a_store_of_what_is_for_training(tmp_path, caplog):
    store = open_store(people(tmp_path))
    assert len(store) == 4 and store.num_classes == 2 and store.format == "webdataset"
    assert store.index.label.tolist() == [0, 1, 0, 1] and store.index.camera.tolist() == [1, 1, 2, 2]
    assert [int(store.image(row)[0, 0, 0]) for row in range(4)] == [0, 20, 10, 30]
    assert store.key(1) == "part-0/deep/002.PNG" and 0 < store.mean[0] < 1
    again = open_store(tmp_path)
    assert isinstance(again.index.offset.base, np.memmap) and again.digest == store.digest
    write(tmp_path / "part-2.tar", ("x.png", picture(200)), ("x.json", {"person_id": "c", "camera": "3"}))
    more = open_store(tmp_path)  # the kept index is of other shards
    assert len(more) == 5 and more.num_classes == 3 and more.index.camera[4] == 3
    converted, unreadable = convert(tmp_path, tmp_path / "out", "lmdb")
    assert len(converted) == 5 and not unreadable


def test_cls_files_and_shards_named_after_their_split(tmp_path):
    for number, name in enumerate(("train-0.tar", "query-0.tar", "gallery/0.tar")):
        write(tmp_path / name, ("7.jpg", picture(number, ".jpg")), ("7.cls", f"{number + 4}\n"))
    data = market.read(tmp_path)
    assert [part.pid.tolist() for part in (data.train, data.query, data.gallery)] == [[4], [5], [6]]
    assert data.train.camera.tolist() == [-1]


def test_bad_samples_are_named_and_counted(tmp_path, caplog):
    good = {"pid": 3}
    shard = write(
        tmp_path / "a.tar",
        *[("0.jpg", picture(1, ".jpg")), ("0.json", good)],
        *[("1.jpg", picture(1, ".jpg"))],
        *[("2.json", good)],
        *[("3.jpg", b""), ("3.json", good)],
        *[("4.jpg", b"x"), ("4.json", "{")],
        *[("5.jpg", b"x"), ("5.json", {"pid": 1.5})],
        *[("6.jpg", b"x"), ("6.json", {"pid": 1, "camid": "left"})],
        *[("7.jpg", b"x"), ("7.json", {"pid": 1, "split": "val"})],
        *[("8.jpg", b"x"), ("8.json", {"pid": -1})],
        *[("9.jpg", b"x"), ("9.cls", "man")],
        *[("10.jpg", b"x"), ("10.json", [])],
        *[("11.jpg", bytes(5000)), ("11.json", good)],
    )
    whole = shard.read_bytes()
    start = whole.index(b"11.jpg\0")
    shard.write_bytes(whole[: start + 1024])
    data = market.read(tmp_path)
    assert len(data.train) == 1 and data.found.endings[".jpg"] == 1
    assert dict(data.found.dropped) == {
        "no pid in a json, nor a cls": 1,
        "no picture": 1,
        "empty picture": 1,
        "unreadable json": 1,
        "pid is neither number nor text": 1,
        "camera, video or frame is not a number": 1,
        "split is none of train, query, gallery": 1,
        "with the id -1": 1,
        "cls is not a number": 1,
        "json without names": 1,
        "cut off or damaged": 1,
    }
    assert "a.tar: the sample 4 is left out: unreadable json" in caplog.text
    shard.write_bytes(whole[:start] + b"damage".ljust(512, b"?") + whole[start + 512 :])
    again = market.read(tmp_path)
    assert again.found.dropped["cut off or damaged"] == 1 and "the sample at its end" in caplog.text


def test_shards_that_cannot_be_used_are_refused_in_one_line(tmp_path):
    write(tmp_path / "a" / "0.tar", ("1.jpg", b"x"))
    with pytest.raises(UserError, match=r"no sample in its 1 tar files .*1 no pid.*\.cls"):
        market.read(tmp_path / "a")
    (tmp_path / "b").mkdir()
    with tarfile.open(tmp_path / "b" / "0.tar", "w:gz"):
        pass
    with pytest.raises(UserError, match=r"b/0.tar is not a plain tar file .*unpack"):
        market.read(tmp_path / "b")
    write(tmp_path / "c" / "query-0.tar", ("1.jpg", b"x"), ("1.cls", "1"))
    with pytest.raises(UserError, match="no sample of the split train"):
        open_store(tmp_path / "c")


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    write(tmp_path / "0.tar", ("1.jpg", b"no picture"), ("1.cls", "1"))
    with pytest.raises(UserError, match=r"0.tar/1.jpg cannot be read as a picture"):
        read_image(market.read(tmp_path).train.paths[0])


def test_our_own_shards_are_read_without_their_index(tmp_path):
    from stores_on_disk import build

    store = build(tmp_path / "s", "shards")
    other = open_store(tmp_path / "s" / "shards")
    assert len(other) == len(store) and other.index.label.tolist() == store.index.label.tolist()
    assert [other.encoded(row) for row in range(3)] == [store.encoded(row) for row in range(3)]
