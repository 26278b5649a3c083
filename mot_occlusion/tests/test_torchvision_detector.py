"""A detection model of torchvision as a detector: its boxes, its categories, and what is wrong with weights."""

import numpy as np
import pytest
import torch
import torchvision

from mot_occlusion.torchvision_detector import TorchvisionDetector
from shared_utils import UserError

NAME = "ssdlite320_mobilenet_v3_large"


class Fixed(torch.nn.Module):
    """Answers as torchvision's models do."""

    def forward(self, images):
        assert images[0].shape == (3, 40, 60) and images[0].max() <= 1
        return [
            {
                "boxes": torch.tensor([[0.0, 0, 9, 9], [10, 0, 19, 30], [20, 0, 29, 9], [30, 0, 39, 9]]),
                "scores": torch.tensor([0.9, 0.7, 0.8, 0.05]),
                "labels": torch.tensor([3, 1, 1, 1]),
            }
        ]


@pytest.fixture
def fixed(monkeypatch):
    monkeypatch.setattr("mot_occlusion.torchvision_detector._build", lambda name, weights: Fixed())


FRAME = np.zeros((40, 60, 3), np.uint8)


def test_people_come_out_by_falling_score_with_their_category(fixed):
    found = TorchvisionDetector(NAME, device="cpu")(FRAME)
    np.testing.assert_allclose(found.scores, [0.8, 0.7])
    assert found.classes.tolist() == [1, 1] and found.boxes[0].tolist() == [20, 0, 29, 9]
    assert TorchvisionDetector(NAME, classes="car", device="cpu")(FRAME).classes.tolist() == [3]
    assert TorchvisionDetector(NAME, classes="all", device="cpu")(FRAME).classes.tolist() == [3, 1, 1]


def test_wrong_names_are_answered_with_the_right_ones(fixed):
    with pytest.raises(UserError, match="no detection model yolo in torchvision: there are fasterrcnn"):
        TorchvisionDetector("yolo")
    for classes in ("people", ""):
        with pytest.raises(UserError, match="no category .*: there are person, bicycle"):
            TorchvisionDetector(NAME, classes=classes)


def test_weights_come_from_a_file_and_those_of_another_model_are_refused(tmp_path):
    torch.manual_seed(0)
    model = torchvision.models.get_model(NAME, weights=None, weights_backbone=None)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    detector = TorchvisionDetector(NAME, str(tmp_path / "w.pth"), device="cpu")
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), detector.model.state_dict().values(), strict=True)
    )
    assert detector(FRAME).boxes.shape[1] == 4
    assert detector.describe()["weights"] and detector.describe()["labels"] == [1]
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=f"x.pth is not a state_dict of torchvision's {NAME}"):
        TorchvisionDetector(NAME, str(tmp_path / "x.pth"))


def test_without_a_network_the_file_is_asked_for(monkeypatch):
    import urllib.error

    def unreachable(*arguments, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision.models, "get_model", unreachable)
    with pytest.raises(UserError, match="cannot be downloaded .*--detector_weights"):
        TorchvisionDetector(NAME)
