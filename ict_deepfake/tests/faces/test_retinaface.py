"""Anchors, decoding and selection of RetinaFace, and its published files."""

import numpy as np
import pytest
import torch

from ict_deepfake import faces
from ict_deepfake.faces.retinaface import anchors, decode_boxes, decode_points, load_network, select
from ict_deepfake.models.retinaface import RetinaFace
from shared_utils import UserError


def encode_box(box, prior):
    """The offsets by which an anchor answers with a box (relative, x0 y0 x1 y1)."""
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return torch.cat([(centre - prior[:2]) / (0.1 * prior[2:]), torch.log(size / prior[2:]) / 0.2])


def test_anchors_are_those_of_a_loop():
    expected = [
        [(column + 0.5) * step / 83, (row + 0.5) * step / 70, side / 83, side / 70]
        for step, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
        for row in range(-(-70 // step))
        for column in range(-(-83 // step))
        for side in sides
    ]
    np.testing.assert_allclose(anchors(70, 83).numpy(), expected, rtol=1e-6)


def test_decoding_is_the_inverse_of_encoding():
    priors = anchors(96, 128)[100:101]
    box = torch.tensor([0.2, 0.3, 0.5, 0.9])
    torch.testing.assert_close(decode_boxes(encode_box(box, priors[0])[None], priors)[0], box)
    points = torch.rand(1, 5, 2)
    offsets = (points - priors[:, None, :2]) / (0.1 * priors[:, None, 2:])
    torch.testing.assert_close(decode_points(offsets.flatten(1), priors), points.flatten(1))


@pytest.fixture
def answers():
    """No face anywhere, but for two answers about one face and one about another, smaller one."""
    priors = anchors(96, 128)
    offsets, scores, points = torch.zeros(len(priors), 4), torch.zeros(len(priors)), torch.zeros(len(priors), 10)
    for anchor, box, score in (
        (10, [0.1, 0.1, 0.5, 0.6], 0.9),
        (11, [0.11, 0.1, 0.5, 0.6], 0.95),
        (90, [0.7, 0.7, 0.9, 0.9], 0.8),
    ):
        offsets[anchor], scores[anchor] = encode_box(torch.tensor(box), priors[anchor]), score
    return offsets, scores, points


def test_best_of_overlapping_boxes_stays_and_the_largest_is_first(answers):
    found = select(*answers, (96, 128))
    np.testing.assert_allclose(found.scores, [0.95, 0.8])
    np.testing.assert_allclose(found.boxes[0], np.array([0.11, 0.1, 0.5, 0.6]) * [128, 96, 128, 96], rtol=1e-4)


def test_small_and_unlikely_faces_are_left_out(answers):
    assert len(select(*answers, (96, 128), min_size=30).boxes) == 1
    assert len(select(*answers, (96, 128), threshold=0.97).boxes) == 0


def test_published_file_is_loaded_by_its_names(tmp_path):
    network = RetinaFace("mobile0.25")
    torch.save({f"module.{name}": value for name, value in network.state_dict().items()}, tmp_path / "final.pth")
    assert load_network(tmp_path / "final.pth").backbone == "mobile0.25"
    detector = faces.detector("retinaface", weights=tmp_path / "final.pth")
    (found, _) = detector.detect([np.zeros((60, 90, 3), np.uint8), np.zeros((33, 47, 3), np.uint8)])
    assert found.points.shape[1:] == (5, 2)


def test_other_files_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="is not RetinaFace"):
        load_network(tmp_path / "other.pth")
    with pytest.raises(UserError, match="absent.pth"):
        faces.detector("retinaface", weights=tmp_path / "absent.pth")


def test_detectors_are_asked_for_sensibly(tmp_path):
    with pytest.raises(UserError, match="mtcnn, retinaface, dlib"):
        faces.detector("yolo")
    with pytest.raises(UserError, match="needs its published weights"):
        faces.detector("retinaface")
    with pytest.raises(UserError, match="only retinaface"):
        faces.detector("mtcnn", weights=tmp_path / "final.pth")
