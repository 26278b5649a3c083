"""One shape of answer for every kind of picture, where the package has a different trap for each."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ict_deepfake import faces
from ict_deepfake.faces.mtcnn import MTCNN

CELEBRITIES = Path(__file__).parents[3].parent / "shared/data/ict_deepfake/celebrities"
pytestmark = pytest.mark.skipif(not CELEBRITIES.is_dir(), reason="the real pictures are not in ../shared/data")


@pytest.fixture(scope="module")
def mtcnn():
    return MTCNN(min_size=40)


@pytest.fixture(scope="module")
def known():
    return faces.landmark_file(CELEBRITIES / "mtcnn.json")


@pytest.fixture(scope="module")
def one():
    return faces.read_picture(CELEBRITIES / "id00/img5.jpg")


@pytest.fixture(scope="module")
def two(one):
    """Two faces side by side, the right one smaller."""
    other = cv2.resize(faces.read_picture(CELEBRITIES / "id00/img11.jpg"), None, fx=0.4, fy=0.4)
    canvas = np.full((one.shape[0], one.shape[1] + other.shape[1], 3), 128, np.uint8)
    canvas[:, : one.shape[1]] = one
    canvas[: other.shape[0], one.shape[1] :] = other
    return canvas


def empty(found):
    return [part.shape for part in found] == [(0, 4), (0,), (0, 5, 2)] and all(
        part.dtype == np.float32 for part in found
    )


def eye_distance(points):
    return np.linalg.norm(points[1] - points[0])


def test_face_is_found_with_numbers_and_no_objects(mtcnn, one, known):
    (found,) = mtcnn.detect([one])
    assert [part.shape for part in found] == [(1, 4), (1,), (1, 5, 2)]
    assert all(part.dtype == np.float32 for part in found)
    stored = known.of("id00/img5.jpg").points[0]
    assert np.abs(found.points[0] - stored).max() < 0.06 * eye_distance(stored)


def test_no_face_is_empty(mtcnn):
    assert empty(mtcnn.detect([np.full((120, 160, 3), 90, np.uint8)])[0])


def test_several_faces_come_with_the_largest_first(mtcnn, two):
    (found,) = mtcnn.detect([two])
    assert len(found.boxes) == 2
    assert found.points[0, 2, 0] < found.points[1, 2, 0]


def test_mixed_counts_and_sizes_are_those_of_each_alone(mtcnn, one, two):
    blank = np.zeros_like(one)
    batch = [two, one, blank, cv2.resize(one, (250, 320))]
    together = mtcnn.detect(batch)
    assert [len(found.boxes) for found in together] == [2, 1, 0, 1]
    for picture, found in zip(batch, together, strict=True):
        np.testing.assert_allclose(found.points, mtcnn.detect([picture])[0].points, atol=0.05)


@pytest.mark.parametrize("side", [1, 15, 39, 40, 45])
def test_tiny_picture_is_empty(mtcnn, side):
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    assert empty(mtcnn.detect([noise])[0])


def test_picture_that_stops_the_package_does_not_stop_its_neighbours(mtcnn, one, monkeypatch):
    """Where no window gets to a later network, the package fails for the whole batch."""
    detect = mtcnn._network.detect

    def failing(images, landmarks):
        if any(not image.any() for image in images):
            raise ValueError("torch.cat(): expected a non-empty list of Tensors")
        return detect(images, landmarks=landmarks)

    monkeypatch.setattr(mtcnn._network, "detect", failing)
    assert [len(found.boxes) for found in mtcnn.detect([one, np.zeros_like(one)])] == [1, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((1, 64, 64, 3), np.uint8),
    ],
    ids=["float", "grey", "RGBA", "batch"],
)
def test_other_arrays_are_refused(mtcnn, wrong):
    with pytest.raises(ValueError, match="uint8 RGB"):
        mtcnn.detect([wrong])


def test_shrunk_search_answers_in_pixels_of_the_picture(one, mtcnn):
    large = cv2.resize(one, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    found, expected = MTCNN(40, longest=max(one.shape)).detect([large])[0], mtcnn.detect([one])[0]
    distance = np.abs(found.points[0] - ((expected.points[0] + 0.5) * 3 - 0.5)).max()
    assert distance < 0.04 * eye_distance(found.points[0])


def test_detection_is_deterministic(mtcnn, one):
    np.testing.assert_array_equal(mtcnn.detect([one])[0].points, mtcnn.detect([one])[0].points)


class TestFiles:
    """A picture is read as it is seen, whatever its file is like."""

    @pytest.fixture
    def stored(self, tmp_path, one):
        def store(name, image, **options):
            image.save(tmp_path / name, **options)
            return faces.read_picture(tmp_path / name)

        return store

    def test_exif_rotation_is_applied(self, stored, mtcnn, one):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        lying = Image.fromarray(one).transpose(Image.Transpose.ROTATE_90)
        picture = stored("turned.jpg", lying, exif=exif, quality=95)
        assert picture.shape == one.shape
        assert np.abs(mtcnn.detect([picture])[0].points - mtcnn.detect([one])[0].points).max() < 3

    def test_transparent_becomes_white(self, stored, one):
        layer = np.dstack([one, np.full(one.shape[:2], 255, np.uint8)])
        layer[:50, :, 3] = 0
        picture = stored("transparent.png", Image.fromarray(layer))
        assert (picture[:50] == 255).all()
        np.testing.assert_array_equal(picture[50:], one[50:])

    def test_grey_has_a_face(self, stored, mtcnn, one):
        picture = stored("grey.png", Image.fromarray(one).convert("L"))
        assert picture.shape == one.shape
        assert len(mtcnn.detect([picture])[0].boxes) == 1

    def test_16_bits_have_a_face(self, stored, mtcnn, one):
        grey = np.asarray(Image.fromarray(one).convert("L"))
        picture = stored("deep.png", Image.fromarray(grey.astype(np.uint16) * 257))
        np.testing.assert_array_equal(picture[..., 0], grey)
        assert len(mtcnn.detect([picture])[0].boxes) == 1

    def test_palette_and_cmyk_become_rgb(self, stored, one):
        for name, mode in (("palette.png", "P"), ("print.jpg", "CMYK")):
            assert stored(name, Image.fromarray(one).convert(mode)).shape == one.shape
