"""The defect map is where a network changed the picture, for clips and for the frames of a film alike."""

import torch

from old_films_rtn import defect_map


def test_the_map_is_the_mean_change_of_a_pixel_and_its_neighbours():
    clip, restored = torch.zeros(1, 2, 3, 16, 16), torch.zeros(1, 2, 3, 16, 16)
    restored[0, 0, :, 5, 5] = 0.9
    found = defect_map.change_map(restored, clip)
    assert found.shape == (1, 2, 1, 16, 16)
    assert torch.allclose(found[0, 0, 0, 4:7, 4:7], torch.tensor(0.9 / 2 / 9)) and found[0, 0].sum() < 0.46
    assert not found[0, 1].any()
    restored[0, 1, :, 0, 0] = 0.4
    assert torch.allclose(
        defect_map.change_map(restored, clip)[0, 1, 0, 0, 0], torch.tensor(0.05)
    )  # 4 pixels at a corner


def test_what_lies_away_from_defects_is_bit_equal():
    torch.manual_seed(0)
    clip = torch.rand(1, 2, 3, 32, 32) - 0.5
    restored = clip + 0.01
    restored[..., 10:14, 10:14] += 0.5
    after = defect_map.composited(restored, clip, 0.04)
    assert torch.allclose(after[..., 10:14, 10:14], restored[..., 10:14, 10:14], atol=0.01)  # the edge is soft
    changed = (after != clip).any(2)
    assert changed[..., 8:16, 8:16].all() and not changed[..., :4, :].any() and not changed[..., 20:].any()
    assert torch.equal(defect_map.composited(restored, clip, 1.1), clip)
