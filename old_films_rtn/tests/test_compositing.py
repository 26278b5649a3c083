"""What goes back into the picture."""

import numpy as np
import torch

from old_films_rtn.compositing import Compositing, composite, kept_probability, report
from old_films_rtn.defect_map import composited
from old_films_rtn.video.frame import to_unit


def spotted(kind=np.uint16, seed=0):
    """(luma of noise, the output of a network that puts white into a square and moves everything else a little)."""
    luma = np.random.default_rng(seed).integers(0, np.iinfo(kind).max, (40, 40), dtype=kind) // 2
    output = to_unit(luma, (0, int(np.iinfo(kind).max))) + 0.01
    output[18:22, 18:22] = 1
    return luma, output.astype(np.float32)


def test_compositing_adds_nothing_where_nothing_is_a_defect():
    luma, output = spotted()
    after = composite(luma, (0, 65535), output, Compositing())
    assert np.array_equal(after.codes[after.defects == 0], luma[after.defects == 0])
    assert (after.codes[19:21, 19:21] > 60000).all() and 0 < (after.defects > 0).mean() < 0.2
    nothing = composite(luma, (0, 65535), output, Compositing(mask_threshold=1.1))
    assert np.array_equal(nothing.codes, luma) and not nothing.defects.any()
    every = composite(luma, (0, 65535), output, Compositing(everywhere=True))
    assert (every.codes != luma).all() and np.array_equal(every.defects, after.defects)


def test_a_frame_is_composited_as_a_clip_is():
    luma, output = spotted(np.uint8)
    clip, restored = (torch.from_numpy(plane)[None, None, None] for plane in (to_unit(luma, (0, 255)), output))
    expected = (composited(restored, clip)[0, 0, 0] + 1) * 127.5
    assert np.abs(composite(luma, (0, 255), output, Compositing()).codes - expected.numpy()).max() < 1


def test_a_map_that_is_given_back_makes_the_same_picture_and_a_corrected_one_what_it_says():
    luma, output = spotted()
    found = composite(luma, (0, 65535), output, Compositing())
    again = composite(luma, (0, 65535), output, Compositing(), given=found.defects / np.float32(255))
    assert np.array_equal(again.codes, found.codes) and np.array_equal(again.defects, found.defects)
    drawn = np.zeros((40, 40), np.float32)
    drawn[2:4] = 1
    after = composite(luma, (0, 65535), output, Compositing(), given=drawn)
    assert (after.codes[2:4] != luma[2:4]).all() and np.array_equal(after.codes[4:], luma[4:])


def test_the_change_is_limited_and_grain_comes_back_outside_defects():
    rng = np.random.default_rng(0)
    luma = (128 + rng.normal(0, 6, (64, 64))).astype(np.uint8)
    output = np.zeros((64, 64), np.float32)
    limited = composite(luma, (0, 255), output, Compositing(everywhere=True, max_change=0.01)).codes
    assert np.abs(limited.astype(int) - luma).max() <= 3
    smooth = composite(luma, (0, 255), output, Compositing(everywhere=True, mask_threshold=1)).codes
    grainy = composite(luma, (0, 255), output, Compositing(everywhere=True, mask_threshold=1, grain=1.0)).codes
    assert smooth.std() == 0 and grainy.std() > 0.7 * luma.std()
    inside = composite(luma, (0, 255), output, Compositing(everywhere=True, mask_threshold=0, grain=1.0)).codes
    assert inside.std() < 0.1


def test_the_border_of_the_gate_is_no_scratch():
    found = np.zeros((40, 60), np.float32)
    found[:, 1:5], found[:, 30:33], found[5:9, 57:], found[38:, 10:12] = 0.9, 0.9, 0.9, 0.9
    kept = kept_probability(found, 0.5)
    assert not kept[:, :5].any()  # as high as the frame
    assert (kept[:, 30:33] > 0.8).all() and (kept[5:9, 57:] > 0.8).all() and (kept[38:, 10:12] > 0.8).all()
    assert np.array_equal(kept_probability(found, 0.95), np.rint(255 * found).astype(np.uint8) / np.float32(255))


def test_superwhite_of_limited_range_is_not_clipped():
    luma = np.full((4, 4), 250, np.uint8)
    output = np.ones((4, 4), np.float32)
    assert (composite(luma, (16, 235), output, Compositing(everywhere=True)).codes == 250).all()


def test_the_report_says_where_the_largest_defect_is_and_how_much_it_differed():
    luma = np.full((40, 60), 100, np.uint8)
    output = to_unit(luma, (0, 255)).copy()
    output[10:20, 30:36] += 0.4
    output[30:32, 4:6] += 0.4
    row = report(luma, composite(luma, (0, 255), output, Compositing()), (0, 255))
    assert row["defects"] == 2 and 29 - 4 <= row["x"] <= 30 and 5 < row["y"] <= 10 and row["height"] >= 10
    assert round(row["difference"]) == 51 and round(row["max_change"]) == 51 and 0 < row["area"] < 0.2
    untouched = report(luma, composite(luma, (0, 255), output, Compositing(mask_threshold=1.0)), (0, 255))
    assert untouched["defects"] == 0 and untouched["x"] == "" and untouched["max_change"] == 0


def test_a_change_counts_where_neighbours_do_not_explain_the_pixel_or_along_a_whole_line():
    """Letters that stand still are changed by a network that takes their strokes for scratches: they come back."""
    luma = np.full((60, 80), 200, np.uint8)
    luma[20:30, 10:14] = 30  # the stroke of a letter
    luma[40:43, 60:63] = 20  # dirt, in this frame alone
    luma[:, 35:38] = 60  # a scratch, in every frame
    output, residual = np.full((60, 80), to_unit(luma, (0, 255))[0, 0]), np.zeros((60, 80), np.float32)
    residual[40:43, 60:63] = 1.4
    after = composite(luma, (0, 255), output, Compositing(), residual).codes
    assert (after[20:30, 10:14] == 30).all() and (after[41, 61] > 190) and (after[:, 36] > 190).all()
    assert (
        composite(luma, (0, 255), output, Compositing()).codes[25, 11] > 190
    ).all()  # every change counts without it
