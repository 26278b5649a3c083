import numpy as np
import pytest
import torch

from mot_occlusion.detector import Detector
from mot_occlusion.models import HEADS
from mot_occlusion.models.tracking_model import TrackingModel
from shared_utils import UserError

SIZE = (64, 96)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return TrackingModel("small", {**HEADS, "id": 16}, SIZE).eval()


def test_embedding_of_a_detected_box_is_the_detections_own(model):
    detector = Detector(model, "cpu")
    detector.min_score = 0.0
    frame = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    found = detector(frame)
    maps, _ = detector.maps(frame)
    # Where left and right, top and bottom distances differ, the box's middle is in another cell than its peak.
    cells = (found.boxes[:, :2] + found.boxes[:, 2:]) / 8
    inside = ((cells >= 0) & (cells < [24, 16])).all(1)
    embeddings = detector.embed(frame, found.boxes[inside])
    x, y = cells[inside].astype(int).T
    expected = torch.nn.functional.normalize(maps["id"][0], dim=0)[:, y, x].T.numpy()
    assert np.abs(embeddings - expected).max() < 1e-5
    assert detector.embed(frame, np.zeros((0, 4))).shape == (0, embeddings.shape[1])


def test_detector_is_deterministic_and_bfloat16_is_close(model):
    frame = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    exact, again = (Detector(model, "cpu").maps(frame)[0] for _ in range(2))
    rough = Detector(model, "cpu", "bf16").maps(frame)[0]
    for name, value in exact.items():
        assert torch.equal(value, again[name])
        assert (value - rough[name].float()).abs().max() < 0.1 * value.abs().max()


def test_detector_refuses_what_is_not_a_frame(model):
    detector = Detector(model, "cpu")
    with pytest.raises(UserError, match=r"uint8 RGB, got \(64, 96\)"):
        detector(np.zeros((64, 96), np.uint8))
    with pytest.raises(UserError, match="multiples of 32"):
        Detector(model, "cpu", input_size=(65, 96))
    with pytest.raises(UserError, match="precision"):
        Detector(model, "cpu", "8")


def test_model_without_trained_heads_is_refused_by_name():
    model = TrackingModel("small", {"hm": 1, "wh": 4}, SIZE, untrained=["hm"])
    with pytest.raises(UserError, match="no trained detection heads"):
        Detector(model, "cpu")(np.zeros((64, 96, 3), np.uint8))
