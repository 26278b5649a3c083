"""`predict` from the command line: pictures, folders, videos; failures, resumption, the page."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_faces import BlobFinder, drawn_faces, tiny_detector
from PIL import Image

from ict_deepfake import faces
from ict_deepfake.commands.predict import main
from ict_deepfake.enrolment import DlibDescriber, enrol, portraits
from ict_deepfake.references import empty
from shared_utils.video import Writer

DATA = Path(__file__).parents[3].parent / "shared/data/ict_deepfake"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_detector().save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _blobs(monkeypatch):
    monkeypatch.setattr(faces, "detector", lambda *_, **__: BlobFinder())


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two persons with three pictures each, two suspects and a video of two faces with a cut."""
    folder = tmp_path_factory.mktemp("stored")

    def save(name, image):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)

    for number, person in enumerate(["Ann", "Bob"]):
        for picture in range(3):
            save(f"known/{person}/{picture}.png", drawn_faces((60 + picture, 60, 60 + 8 * number), seed=7 * number))
    save("suspects/a1.png", drawn_faces((62, 58, 60), seed=3))
    save("suspects/a2.png", drawn_faces((40, 60, 48), (120, 60, 36), seed=4))
    with Writer(folder / "clip.mp4", (120, 160), 10) as writer:
        for number in range(20):
            image = drawn_faces((50 + number, 60, 48), (130, 60, 30), seed=1)
            writer.write(image if number < 10 else np.minimum(image + 100, 255).astype(np.uint8) // 2 + 120)
    return folder


def table_of(folder):
    with (Path(folder) / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def test_folder_gives_a_row_a_face_crops_and_a_page(stored, model, scratch, capsys):
    assert main([str(stored / "suspects"), "--ckpt", model, "--out", "out"]) == 0
    rows = table_of("out")
    assert [(row["source"], row["face"]) for row in rows] == [("a1.png", "0"), ("a2.png", "0"), ("a2.png", "1")]
    assert all(Path("out", row["crop"]).is_file() for row in rows)
    page = Path("out/report.html").read_text()
    assert page.count('alt="the face as the network sees it"') == 3 and "uncalibrated" in page
    assert "http" not in page  # everything is in it
    assert "answered: consistency" in capsys.readouterr().out


def test_corrupt_file_in_a_hundred_gives_99_results_and_one_failure(stored, model, scratch, capsys):
    Path("many").mkdir()
    for number in range(99):
        shutil.copy(stored / "suspects/a1.png", f"many/{number}.png")
    Path("many/50b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert main(["many", "--ckpt", model, "--out", "out"]) == 2
    statuses = [row["status"] for row in table_of("out")]
    assert (statuses.count("ok"), statuses.count("unreadable")) == (99, 1)
    message = capsys.readouterr().err
    assert "1 of 100 files could not be used (many/50b.png" in message and "the other 99 are in out" in message
    assert "50b.png" in Path("out/report.html").read_text()


def test_references_and_a_claim_are_answered(stored, model, scratch, capsys):
    arguments = [str(stored / "suspects"), "--ckpt", model, "--reference", str(stored / "known")]
    assert main([*arguments, "--claim", "Ann", "--out", "out"]) == 0
    rows = table_of("out")
    assert all(row["inner_name"] in ("Ann", "Bob") and float(row["claim"]) >= 0 for row in rows)
    printed = capsys.readouterr().out
    assert "answered: open set: whom of the 2 persons" in printed and "answered: claim: is this Ann?" in printed
    assert "The claim is refused above" in Path("out/report.html").read_text()


def test_reference_among_the_suspects_is_named(stored, model, scratch):
    assert (
        main([str(stored / "known/Bob/0.png"), "--ckpt", model, "--reference", str(stored / "known"), "--out", "out"])
        == 0
    )
    (row,) = table_of("out")
    assert row["leak"] == "Bob" and "is a reference of Bob" in row["note"]


def test_video_has_tracks_that_end_at_a_cut(stored, model, scratch):
    assert main([str(stored / "clip.mp4"), "--ckpt", model, "--every", "2", "--out", "out"]) == 0
    rows = table_of("out")
    before = {row["track"] for row in rows if float(row["time"]) < 0.95}
    after = {row["track"] for row in rows if float(row["time"]) > 0.95}
    assert len(before) == 2 and not before & after
    assert [int(row["frame"]) for row in rows if row["track"] == "0"] == [0, 2, 4, 6, 8]
    page = Path("out/report.html").read_text()
    assert "<polyline" in page and "10 of 10 sampled frames" in page


def test_interrupted_run_goes_on(stored, model, scratch, monkeypatch):
    from ict_deepfake.prediction import sources

    monkeypatch.setattr(sources, "TOGETHER", 1)
    arguments = [str(stored / "suspects"), "--ckpt", model, "--out", "out"]
    assert main([*arguments, "--out", "whole"]) == 0
    read = sources.read_picture
    looked_at = []

    def interrupted(path):
        looked_at.append(path.name)
        if path.name == "a2.png" and looked_at.count("a2.png") == 1:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(sources, "read_picture", interrupted)
    assert main(arguments) == 130
    assert main(arguments) == 2  # it exists
    assert main([*arguments, "--resume", "--every", "3"]) == 2  # another job
    assert main([*arguments, "--resume"]) == 0
    assert looked_at == ["a1.png", "a2.png", "a2.png"]
    assert Path("out/scores.csv").read_text() == Path("whole/scores.csv").read_text()
    assert main([*arguments, "--overwrite"]) == 0


def test_landmarks_of_a_file_and_a_missing_one(stored, model, scratch, capsys):
    (found,) = BlobFinder().detect([faces.read_picture(stored / "suspects/a1.png")])
    faces.write_landmarks({"a1.png": found}, "points.json")
    assert main([str(stored / "suspects"), "--ckpt", model, "--landmarks", "points.json", "--out", "out"]) == 2
    assert [row["status"] for row in table_of("out")] == ["ok", "no_landmarks"]
    assert "points.json has no landmarks of a2.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--claim", "Ann"], "give --reference"),
        (["--backend", "dlib"], "give --claim NAME"),
        (["--aligned", "--landmarks", "a.json"], "exclude each other"),
        (["--every", "0"], "--every must be at least 1"),
        (["--reference", "absent.npz"], "absent.npz not found"),
        (["--landmarks", "absent.json"], "absent.json not found"),
        (["--ckpt", "absent.ckpt"], "absent.ckpt not found"),
        (["--backend", "other"], "other"),
    ],
)
def test_bad_arguments_are_one_line(stored, model, scratch, capsys, arguments, words):
    given = [] if "--ckpt" in arguments else ["--ckpt", model]
    assert main([str(stored / "suspects"), *given, *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error


def test_aligned_takes_no_video(stored, model, scratch, capsys):
    assert main([str(stored / "clip.mp4"), "--ckpt", model, "--aligned"]) == 2
    assert "is a video" in capsys.readouterr().err


def test_pictures_beside_the_persons_are_refused(stored, model, scratch, capsys):
    assert main([str(stored / "suspects"), "--ckpt", model, "--reference", str(stored / "suspects")]) == 2
    assert "pictures without a person (a1.png, " in capsys.readouterr().err


def test_without_a_folder_everything_is_printed_and_nothing_is_left(stored, model, scratch, capsys):
    assert main([str(stored / "suspects/a1.png"), "--ckpt", model]) == 0
    assert "a1.png" in capsys.readouterr().out and not list(Path().iterdir())


@pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures are not in ../shared/data")
def test_claim_by_dlib_tells_real_persons_apart(model, scratch, monkeypatch):
    pytest.importorskip("dlib")
    known = faces.landmark_file(DATA / "celebrities/mtcnn.json")

    class Stored:
        """What MTCNN has found in the pictures before."""

        def detect(self, images):
            return [by_shape[image.shape, int(image.sum())] for image in images]

    by_shape = {}
    for person, name in (("id01", "img13"), ("id01", "img14"), ("id02", "img16"), ("id02", "img17")):
        Path("known", person).mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / f"celebrities/{person}/{name}.jpg", f"known/{person}/{name}.jpg")
        image = faces.read_picture(f"known/{person}/{name}.jpg")
        by_shape[image.shape, int(image.sum())] = known.of(f"{person}/{name}.jpg")
    enrol(portraits("known"), empty(DlibDescriber.model), DlibDescriber(), Stored()).references.save(
        "known.safetensors"
    )
    Path("suspects").mkdir()
    for name in ("id01/img57.jpg", "id02/img59.jpg"):
        shutil.copy(DATA / "celebrities" / name, f"suspects/{name.replace('/', '_')}")
    points = {name.replace("/", "_"): known.of(name) for name in ("id01/img57.jpg", "id02/img59.jpg")}
    faces.write_landmarks(points, "points.json")
    arguments = ["suspects", "--ckpt", model, "--landmarks", "points.json", "--reference", "known.safetensors"]
    assert main([*arguments, "--claim", "id01", "--backend", "dlib", "--out", "out"]) == 0
    right, wrong = table_of("out")
    assert float(right["claim"]) < 0.36 < float(wrong["claim"])  # the customary 0.6, squared
    assert (right["claim_nearest"], wrong["claim_nearest"]) == ("id01", "id02")
    assert json.loads(Path("out/job.json").read_text())["finished"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the real pictures are not in ../shared/data")
def test_shell_on_a_real_picture(model, scratch):
    script = Path(__file__).parents[2] / "predict.py"
    picture = DATA / "celebrities/id00/img5.jpg"
    command = [sys.executable, str(script), str(picture), "--ckpt", model, "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = table_of("out")
    stored = faces.landmark_file(DATA / "celebrities/mtcnn.json").of(picture).points[0]
    assert abs(float(row["point_x1"]) - stored[0, 0]) < 10
