"""``convert_store`` between formats, from the published layout and from folders of pictures."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from stores_on_disk import build, content, picture, published

from luperson_nl.commands import convert_store
from luperson_nl.data import store_conversion
from luperson_nl.data.store import open_store

pytestmark = pytest.mark.usefixtures("scratch")


@pytest.mark.parametrize("to", ["lmdb", "shards", "folder"])
def test_every_format_becomes_every_other(to):
    build(Path("s"), "shards" if to == "lmdb" else "lmdb")
    assert convert_store.main(["s", "--to", to, "--out", "o"]) == 0
    made = open_store("o")
    assert made.format == to and content(made) == content(open_store("s"))


def test_the_published_layout_is_converted_and_goes_on_after_a_stop(monkeypatch):
    published(Path("lup"))
    monkeypatch.setattr(store_conversion, "BLOCK", 15)
    readable = store_conversion._readable
    calls = []

    def stop(image):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return readable(image)

    monkeypatch.setattr(store_conversion, "_readable", stop)
    assert convert_store.main(["lup", "--to", "shards", "--out", "o"]) == 130
    assert len(open_store("o")) == 15
    assert convert_store.main(["lup", "--to", "shards", "--out", "o", "--resume"]) == 0
    assert len(calls) == 20 + 25
    made, source = open_store("o"), open_store("lup")
    assert made.digest == source.digest and [made.encoded(i) for i in range(40)] == [picture(i) for i in range(40)]


def test_pictures_in_folders_become_a_store_and_damaged_ones_are_named(capsys):
    for person in (3, 7):
        Path(f"own/{person}").mkdir(parents=True)
        for n in range(3):
            image = np.full((16, 8, 3), 30 * person + n, np.uint8)
            cv2.imwrite(f"own/{person}/x{n}.{'png' if n else 'jpg'}", image)
    Path("own/3/x9.JPG").write_bytes(b"")
    whole = Path("own/7/x0.jpg").read_bytes()
    Path("own/7/x8.jpg").write_bytes(whole[: len(whole) // 2])
    assert convert_store.main(["own", "--out", "o"]) == 0
    captured = capsys.readouterr()
    assert "2 pictures are missing, empty or not whole" in captured.out
    assert "x9.JPG is empty" in captured.err and "x8.jpg is not a whole image" in captured.err
    store = open_store("o")
    assert len(store) == 6 and store.num_classes == 2 and store.index.true is None
    assert sorted(store.encoded(i) for i in range(6)) == sorted(
        path.read_bytes() for path in Path("own").rglob("x[012].*")
    )


def test_bad_input_is_one_line(capsys):
    build(Path("s"))
    shutil.copytree("s", "t")
    for arguments, message in (
        (["absent", "--out", "o"], "absent not found"),
        (["s", "--out", "s"], "s is what is converted"),
        (["s", "--out", "t"], "t exists"),
    ):
        assert convert_store.main(arguments) == 2
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1
