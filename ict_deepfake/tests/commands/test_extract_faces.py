"""`extract_faces` from the command line: crops, rows and landmarks that other verbs take."""

import csv
from pathlib import Path

import numpy as np
import pytest
from drawn_faces import BlobFinder, drawn_faces
from PIL import Image

from ict_deepfake import faces
from ict_deepfake.commands.extract_faces import main


@pytest.fixture(autouse=True)
def _blobs(monkeypatch):
    monkeypatch.setattr(faces, "detector", lambda *_, **__: BlobFinder())


@pytest.fixture
def persons(scratch):
    for name, places in (("Ann/1", [(60, 60, 60)]), ("Bob/1", [(40, 60, 48), (120, 60, 36)]), ("Bob/2", [])):
        Path("in", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn_faces(*places)).save(f"in/{name}.png")


def test_folder_of_persons_becomes_one_of_crops(persons, capsys):
    assert main(["in", "--out", "out", "--exact"]) == 0
    assert "3 faces of 3 files in out (1 files show none)" in capsys.readouterr().out
    crop = faces.read_picture("out/Bob/1.png.1.png")
    image = faces.read_picture("in/Bob/1.png")
    (found,) = BlobFinder().detect([image])
    np.testing.assert_array_equal(crop, faces.align(image, found.points[1], exact=True))


def test_landmarks_give_the_same_crops_again(persons):
    assert main(["in", "--out", "out"]) == 0
    assert main(["in", "--out", "again", "--landmarks", "out/landmarks.json"]) == 0
    for path in sorted(Path("out").rglob("*.png")):
        again = faces.read_picture(Path("again") / path.relative_to("out")).astype(int)
        assert np.abs(again - faces.read_picture(path)).mean() < 1  # points are rounded to hundredths of a pixel
    with Path("out/faces.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["ok", "ok", "ok", "no_face"]


def test_largest_face_alone(persons):
    assert main(["in", "--out", "out", "--largest"]) == 0
    assert [path.name for path in Path("out/Bob").iterdir()] == ["1.png.0.png"]


def test_existing_output_and_unreadable_files(persons, capsys):
    Path("in/Ann/2.jpg").write_bytes(b"no picture")
    assert main(["in", "--out", "out"]) == 2
    assert "1 of 4 files could not be used" in capsys.readouterr().err
    assert main(["in", "--out", "out"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["in", "--out", "out", "--resume"]) == 2
    assert len(list(Path("out").rglob("*.png"))) == 3
