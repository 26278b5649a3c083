import logging

import numpy as np
import pytest

from mot_occlusion import targets
from mot_occlusion.targets import detection_targets, gaussian_radius, overlap_boxes, render_gaussians

SIZE = (24, 32)


def _people(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate((rng.uniform(0, 1, (count, 2)), rng.uniform(0.05, 0.4, (count, 2))), 1).astype(np.float32)


def test_a_box_is_read_back_from_its_targets():
    """Centre cell plus offset, minus and plus the distances, is the box, also where it leaves the map."""
    boxes = np.array([[0.3, 0.4, 0.2, 0.5], [0.98, 0.5, 0.2, 0.3]], np.float32)
    found = detection_targets(boxes, SIZE, 5)
    cells = np.stack((found["ind"] % SIZE[1], found["ind"] // SIZE[1]), 1)[:2]
    centre = cells + found["reg"][:2]
    edges = np.concatenate((centre - found["wh"][:2, :2], centre + found["wh"][:2, 2:]), 1)
    scaled = boxes * np.array([32, 24, 32, 24])
    assert np.allclose(
        edges, np.concatenate((scaled[:, :2] - scaled[:, 2:] / 2, scaled[:, :2] + scaled[:, 2:] / 2), 1), atol=1e-4
    )
    assert (found["hm"][0].reshape(-1)[found["ind"][:2]] == 1).all()


def test_order_of_boxes_changes_only_the_order_of_slots():
    boxes = _people(9)
    order = np.random.default_rng(1).permutation(9)
    a, b = detection_targets(boxes, SIZE, 20), detection_targets(boxes[order], SIZE, 20)
    for name in ("hm", "occlusion"):
        assert (a[name] == b[name]).all()
    for name in ("wh", "reg", "ind"):
        assert (a[name][:9][order] == b[name][:9]).all()
    assert a["occ_mask"].sum() == b["occ_mask"].sum() and set(a["occ_ind"]) == set(b["occ_ind"])


def test_more_people_than_slots_keeps_the_largest_and_says_so_once(caplog):
    targets._warned.clear()
    boxes = _people(40)
    with caplog.at_level(logging.WARNING):
        found = detection_targets(boxes, SIZE, 10)
        detection_targets(boxes, SIZE, 10)
    assert len(caplog.records) == 1 and "max_objects (10)" not in caplog.text and "max_objects is 10" in caplog.text
    area = boxes[:, 2] * boxes[:, 3]
    assert set(found["kept"]) == set(np.argsort(-area)[:10]) and found["reg_mask"].sum() == 10


def test_every_overlap_is_there_from_both_sides():
    boxes = np.array([[0, 0, 10, 10], [2, 2, 12, 12], [20, 20, 30, 30], [1, 1, 4, 4]], float)
    found = overlap_boxes(boxes, 0.6)
    assert len(found) == 6 - 2 and np.allclose(found.sum(0), 2 * np.array([2 + 1, 2 + 1, 10 + 4, 10 + 4]))


def test_hidden_people_are_targets_of_occlusion_alone():
    boxes = np.array([[0.5, 0.5, 0.3, 0.6], [0.52, 0.5, 0.28, 0.58]], np.float32)
    found = detection_targets(boxes, SIZE, 4, visible=np.array([True, False]))
    assert found["reg_mask"].tolist() == [True, False, False, False] and (found["hm"] == 1).sum() == 1
    assert found["occ_mask"].sum() == 2 and (found["occlusion"] == 1).sum() == 1


def test_boxes_without_extent_leave_their_slot_empty():
    found = detection_targets(np.array([[0.5, 0.5, 0, 0.2], [0.4, 0.4, 0.2, 0.2]], np.float32), SIZE, 4)
    assert found["reg_mask"].tolist() == [False, True, False, False]


def test_an_empty_frame_has_empty_targets():
    found = detection_targets(np.zeros((0, 4)), SIZE, 4)
    assert not found["hm"].any() and not found["reg_mask"].any() and not found["occ_mask"].any()


def test_gaussians_take_the_maximum_and_end_at_the_border():
    heatmap = render_gaussians(np.array([[0, 0], [3, 0]]), np.array([2, 2]), (4, 6))
    assert heatmap[0, 0] == 1 and heatmap[0, 3] == 1
    assert heatmap[0, 1] == pytest.approx(np.exp(-1 / (2 * (5 / 6) ** 2)))
    assert heatmap[3].max() == 0


def test_radius_is_the_smallest_of_the_three_published_roots():
    assert gaussian_radius(np.array([10.0]), np.array([10.0])) == pytest.approx(
        min(
            (20 + np.sqrt(400 - 4 * 100 * 0.3 / 1.7)) / 2,
            (40 + np.sqrt(1600 - 16 * 0.3 * 100)) / 2,
            (-28 + np.sqrt(28**2 + 4 * 2.8 * 0.3 * 100)) / 2,
        )
    )
