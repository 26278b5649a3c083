import numpy as np

from mot_occlusion.data.transforms import Affine, AffineRanges, relight, warp_boxes, warp_image


def test_boxes_follow_the_image_under_an_affine():
    image = np.zeros((100, 160, 3), np.uint8)
    image[30:60, 50:80] = 255
    affine = Affine(angle=3.0, scale=1.1, translate_x=9.0, translate_y=-4.0, shear_y=0.02, shear_x=-0.01)
    matrix = affine.matrix((100, 160))
    warped = warp_image(image, matrix, border=0)
    boxes, rows = warp_boxes(np.array([[50.0, 30.0, 80.0, 60.0]]), matrix, affine.angle)
    bright = np.argwhere(warped[..., 0] > 127)
    assert rows.tolist() == [0] and np.abs(boxes[0] - [*bright.min(0)[::-1], *(bright.max(0)[::-1] + 1)]).max() < 1.5


def test_boxes_that_become_too_small_are_dropped():
    boxes, rows = warp_boxes(np.array([[0.0, 0, 7, 30], [0, 0, 30, 30]]), Affine(scale=0.5).matrix((100, 100)), 0.0)
    assert rows.tolist() == [1] and boxes.shape == (1, 4)


def test_the_second_frame_is_perturbed_by_a_fraction_of_the_ranges_either_way():
    ranges, rng = AffineRanges(), np.random.default_rng(0)
    base = ranges.draw(rng, (192, 320))
    moved = [ranges.perturb(base, rng, (192, 320)) for _ in range(300)]
    angles = np.array([affine.angle - base.angle for affine in moved])
    scales = np.array([affine.scale / base.scale for affine in moved])
    assert np.abs(angles).max() <= 0.19 * 5 and angles.min() < -0.3 and angles.max() > 0.3
    assert scales.min() > 1 - 0.19 * 0.35 - 1e-9 and scales.max() < 1 + 0.19 * 0.35 + 1e-9 and scales.min() < 0.99


def test_new_light_changes_colours_and_nothing_else():
    image = np.random.default_rng(0).integers(40, 200, (20, 30, 3), dtype=np.uint8)
    lit = relight(image, np.random.default_rng(1))
    assert lit.shape == image.shape and np.abs(lit.astype(int) - image).mean() > 5
    assert np.corrcoef(lit[..., 0].ravel(), image[..., 0].ravel())[0, 1] > 0.8
