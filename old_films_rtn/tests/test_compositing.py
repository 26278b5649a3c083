"""What goes back into the picture."""

import numpy as np

from old_films_rtn.compositing import Compositing, composite, defects


def test_compositing_adds_nothing_where_nothing_is_a_defect():
    luma = np.random.default_rng(0).integers(0, 65536, (40, 40), dtype=np.uint16)
    mask = np.zeros((40, 40), np.float32)
    mask[18:22, 18:22] = 0.9
    output = np.ones((40, 40), np.float32)
    after = composite(luma, (0, 65535), output, mask, Compositing(only_masked=True))
    weight = defects(mask, 0.5)
    assert np.array_equal(after[weight == 0], luma[weight == 0])
    assert (after[19:21, 19:21] == 65535).all() and 0 < (weight > 0).mean() < 0.15


def test_the_change_is_limited_and_grain_comes_back_outside_defects():
    rng = np.random.default_rng(0)
    luma = (128 + rng.normal(0, 6, (64, 64))).astype(np.uint8)
    output, mask = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    limited = composite(luma, (0, 255), output, mask, Compositing(max_change=0.01))
    assert np.abs(limited.astype(int) - luma).max() <= 3
    smooth = composite(luma, (0, 255), output, mask, Compositing())
    grainy = composite(luma, (0, 255), output, mask, Compositing(grain=1.0))
    assert smooth.std() == 0 and grainy.std() > 0.7 * luma.std()
    mask[:] = 1
    assert composite(luma, (0, 255), output, mask, Compositing(grain=1.0)).std() < 0.1


def test_superwhite_of_limited_range_is_not_clipped():
    luma = np.full((4, 4), 250, np.uint8)
    assert (composite(luma, (16, 235), np.ones((4, 4), np.float32), np.zeros((4, 4)), Compositing()) == 250).all()
