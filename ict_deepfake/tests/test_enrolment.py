"""From folders of persons to reference sets: whose picture is it, copies, leaks, what gives no reference."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from ict_deepfake import enrolment
from ict_deepfake.enrolment import enrol, portraits
from ict_deepfake.faces.found import faces, no_faces
from ict_deepfake.models.ict import Embeddings
from ict_deepfake.references import empty
from shared_utils import UserError

POINTS = np.array([[30, 40], [70, 40], [50, 60], [36, 80], [64, 80]], np.float32)


class Describer:
    """Rows that are the colour of the middle of a picture; counts what it is asked."""

    model = "colours"

    def __init__(self):
        self.asked = 0

    def describe(self, image, found):
        self.asked += len(found)
        rows = normalize(torch.from_numpy(image[40:60, 40:60].reshape(1, -1, 3).mean(1)).float())
        return Embeddings(rows, rows.flip(1))


class Finder:
    """A face in the middle of every picture; two in wide ones, none in black ones."""

    def detect(self, images):
        found = []
        for image in images:
            count = 0 if not image.any() else 2 if image.shape[1] > image.shape[0] else 1
            boxes = [[0, 0, 99 - 9 * row, 99] for row in range(count)]
            found.append(faces(boxes, [1.0] * count, [POINTS] * count) if count else no_faces())
        return found


def picture(seed, size=(100, 100)):
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(30, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def people(tmp_path):
    for person in range(3):
        folder = tmp_path / "people" / f"person {person}"
        folder.mkdir(parents=True)
        for number in range(2):
            picture(10 * person + number).save(folder / f"{number}.png")
    return tmp_path / "people"


def build(people, known=None, tests=(), describer=None):
    return enrol(portraits(people), known or empty("colours"), describer or Describer(), Finder(), tests)


def test_every_picture_becomes_a_row_with_its_persons_name(people):
    done = build(people)
    assert done.references.names == [f"person {person}" for person in range(3) for _ in range(2)]
    assert done.references.model == "colours" and all(done.references.sources) and all(done.references.hashes)
    assert not done.problems and not done.crowded and done.known == 0


def test_pictures_that_are_in_the_set_are_not_computed_again(people):
    first, describer = build(people).references, Describer()
    picture(99).save(people / "person 1" / "new.png")
    done = build(people, first, describer=describer)
    assert describer.asked == 1 and done.known == 6 and len(done.references) == 7
    assert torch.equal(done.references.inner[:6], first.inner) and done.references.names[-1] == "person 1"
    (people / "person 2" / "0.png").rename(people / "person 0" / "moved.png")
    with pytest.raises(UserError, match=r"moved\.png is in the set already, as person 2"):
        build(people, first)


def test_what_gives_no_reference_is_named_and_the_rest_is_done(people):
    (people / "person 0" / "cut.jpg").write_bytes(b"\xff\xd8\xff cut off")
    Image.new("RGB", (100, 100)).save(people / "person 1" / "black.png")
    picture(50, (140, 100)).save(people / "person 2" / "two.png")
    done = build(people)
    assert len(done.references) == 7 and len(done.problems) == 2
    assert "cut.jpg" in done.problems[0] and "black.png shows no face" in done.problems[1]
    assert [path.rsplit("/", 1)[1] for path in done.crowded] == ["two.png"]


def test_a_set_of_nothing_is_an_error(tmp_path):
    (tmp_path / "people" / "a").mkdir(parents=True)
    Image.new("RGB", (100, 100)).save(tmp_path / "people" / "a" / "black.png")
    with pytest.raises(UserError, match=r"none of the 1 pictures gives a reference: .*black\.png shows no face"):
        build(tmp_path / "people")


def test_a_file_that_is_there_twice_is_refused_before_the_work(people):
    describer = Describer()
    (people / "person 2" / "again.png").write_bytes((people / "person 0" / "1.png").read_bytes())
    with pytest.raises(UserError, match=r"again\.png is the same file as .*person 0/1\.png"):
        build(people, describer=describer)
    assert describer.asked == 0


def test_pictures_without_a_person_are_refused(people, tmp_path):
    picture(5).save(people / "whose.png")
    with pytest.raises(UserError, match=r"holds 1 pictures without a person \(whose\.png\)"):
        portraits(people)
    (people / "whose.png").unlink()
    (people / "nobody").mkdir()
    with pytest.raises(UserError, match="no pictures of nobody"):
        portraits(people)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="holds no pictures of persons"):
        portraits(tmp_path / "bare")
    with pytest.raises(UserError, match="is not a folder"):
        portraits(tmp_path / "nowhere")


def test_a_file_of_the_test_is_refused_before_the_work(people, tmp_path):
    leak, describer = tmp_path / "frame.png", Describer()
    leak.write_bytes((people / "person 1" / "0.png").read_bytes())
    with pytest.raises(UserError, match=r"1 reference pictures are in the test.*person 1/0\.png is .*frame\.png"):
        build(people, tests=[leak], describer=describer)
    assert describer.asked == 0


def test_a_picture_of_the_test_that_was_saved_again_is_refused(people, tmp_path):
    picture(40).save(tmp_path / "clean.png")
    assert len(build(people, tests=[tmp_path / "clean.png"]).references) == 6
    stream = io.BytesIO()
    picture(11).save(stream, "JPEG", quality=50)
    (tmp_path / "frame.jpg").write_bytes(stream.getvalue())
    with pytest.raises(
        UserError, match=r"1 test pictures are in the reference set.*frame\.jpg is a picture of person 1"
    ):
        build(people, tests=[tmp_path / "clean.png", tmp_path / "frame.jpg"])


def test_tests_are_a_folder_or_a_list(tmp_path):
    picture(0).save(tmp_path / "a.png")
    (tmp_path / "list.json").write_text(json.dumps(["a.png"]))
    (tmp_path / "list.txt").write_text("a.png\n\n")
    for source in (tmp_path, tmp_path / "list.json", tmp_path / "list.txt"):
        assert enrolment.test_pictures(source) == [tmp_path / "a.png"]
    (tmp_path / "bad.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "gone.json").write_text(json.dumps(["a.png", "b.png"]))
    (tmp_path / "empty.txt").write_text("")
    for name, words in (
        ("bad.json", "not a JSON array of paths"),
        ("gone.json", r"1 of 2 test pictures are missing \(.*b\.png\)"),
        ("empty.txt", "holds no test pictures"),
        ("nowhere", "not found"),
    ):
        with pytest.raises(UserError, match=words):
            enrolment.test_pictures(tmp_path / name)
