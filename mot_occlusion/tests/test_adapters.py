"""Other libraries' detections, by objects that hold what theirs hold (and by theirs, where they are installed)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mot_occlusion
from mot_occlusion import Tracker
from shared_utils import UserError

BOXES = np.array([[10, 10, 50, 110], [200, 10, 240, 110], [400, 10, 440, 110]], np.float32)


class Found(SimpleNamespace):
    """As ``supervision.Detections``: arrays by row, which a list of rows chooses from."""

    def __getitem__(self, rows):
        return Found(**{name: None if value is None else value[rows] for name, value in vars(self).items()})


def found(**changes):
    columns = {
        "xyxy": BOXES,
        "confidence": np.array([0.9, 0.2, 0.8]),
        "class_id": np.array([0, 0, 7]),
        "mask": np.arange(3),
        "tracker_id": None,
    }
    return Found(**(columns | changes))


def test_supervision_goes_in_and_comes_out_with_identities_and_its_own_data():
    tracker = Tracker((480, 640))
    for _ in range(2):
        tracks = tracker.update(mot_occlusion.from_supervision(found()))
    named = mot_occlusion.to_supervision(tracks, found())
    assert named.mask.tolist() == [0, 2] and named.class_id.tolist() == [0, 7]
    assert named.tracker_id.tolist() == tracks.ids.tolist() == [1, 2]
    assert mot_occlusion.from_supervision(found(confidence=None, class_id=None)).scores.tolist() == [1, 1, 1]


def test_supervision_itself():
    supervision = pytest.importorskip("supervision")
    given = supervision.Detections(BOXES, confidence=np.array([0.9, 0.2, 0.8]), class_id=np.array([0, 0, 7]))
    tracks = Tracker((480, 640)).update(mot_occlusion.from_supervision(given))
    assert mot_occlusion.to_supervision(tracks, given).tracker_id.tolist() == [1, 2]


def test_ultralytics_goes_in_and_comes_out():
    boxes = SimpleNamespace(
        xyxy=torch.from_numpy(BOXES), conf=torch.tensor([0.9, 0.2, 0.8]), cls=torch.tensor([0.0, 0, 7])
    )
    tracks = Tracker((480, 640)).update(mot_occlusion.from_ultralytics(SimpleNamespace(boxes=boxes)))
    rows = mot_occlusion.to_ultralytics(tracks)
    assert rows.shape == (2, 7) and rows[:, 4].tolist() == [1, 2] and rows[:, 6].tolist() == [0, 7]
    np.testing.assert_allclose(rows[:, :4], BOXES[[0, 2]], atol=1e-3)
    np.testing.assert_allclose(rows[:, 5], [0.9, 0.8])
    assert len(mot_occlusion.from_ultralytics(SimpleNamespace(boxes=None)).boxes) == 0


def test_what_is_something_else_is_named():
    with pytest.raises(UserError, match="has no xyxy: give a supervision.Detections"):
        mot_occlusion.from_supervision(SimpleNamespace(confidence=None))
    tracks = Tracker((480, 640)).update(mot_occlusion.from_supervision(found()))
    with pytest.raises(UserError, match="do not say which detections they are"):
        mot_occlusion.to_supervision(tracks._replace(detections=None), found())
