"""Labels lie on the pixels they name, from the file to the targets and back to a file."""

import cv2
import numpy as np
import pytest
import yaml
from conftest import PROJECT

from mot_occlusion.data.mot import read_videos
from mot_occlusion.data.mot_format import read_results, result_line
from mot_occlusion.data.synthetic_crowd import render_crowd
from mot_occlusion.data.training_pairs import TrainingPairs
from mot_occlusion.data.transforms import AffineRanges

SIZE = (192, 320)
X, Y, W, H = 141, 62, 24, 70  # columns 141 to 164 and rows 62 to 131, counted from 0


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """One frame with a dark ellipse, as people are narrower at their ends than their boxes; its label counts from 1."""
    folder = tmp_path_factory.mktemp("data") / "A"
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    ellipse = ((x - X - W / 2) / (W / 2)) ** 2 + ((y - Y - H / 2) / (H / 2)) ** 2 <= 1
    cv2.imwrite(str(folder / "img1" / "000001.png"), np.where(ellipse, 10, 240).astype(np.uint8))
    (folder / "gt" / "gt.txt").write_text(f"1,1,{X + 1},{Y + 1},{W},{H},1,1,1\n")
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nframeRate=25\nseqLength=1\nimWidth={SIZE[1]}\nimHeight={SIZE[0]}\nimExt=.png\n"
    )
    return read_videos(folder)


def labelled_and_drawn(pair):
    """The box of the targets, and that of the dark pixels, xyxy edges of pixels."""
    targets = pair["targets"]
    cell = int(targets["ind"][0])
    middle = np.array([cell % (SIZE[1] // 4), cell // (SIZE[1] // 4)]) + targets["reg"][0]
    label = 4 * np.concatenate((middle - targets["wh"][0, :2], middle + targets["wh"][0, 2:]))
    dark = pair["image"][0].numpy() < 0.3
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    return label, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_labels_lie_on_the_drawn_pixels_plain_and_mirrored(video, flip):
    label, drawn = labelled_and_drawn(TrainingPairs(video, SIZE, seed=0, colour=0.0, flip=flip)[(0, 0)])
    np.testing.assert_allclose(label, drawn, atol=1e-3)
    first = SIZE[1] - X - W if flip else X
    np.testing.assert_allclose(label, [first, Y, first + W, Y + H], atol=1e-3)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_labels_stay_on_the_people_under_the_default_augmentation(video, flip):
    """Its affine neither turns nor shears: the box round a turned box is wider than the person in it."""
    config = yaml.safe_load((PROJECT / "mot_occlusion" / "configs" / "default.yaml").read_text())["data"]["affine"]
    pairs = TrainingPairs(video, SIZE, seed=0, affine=AffineRanges(**config), colour=0.0, flip=flip)
    apart = [np.subtract(*labelled_and_drawn(pairs[(epoch, 0)])) for epoch in range(24)]
    assert np.abs(apart).max() < 1
    assert np.abs(np.mean(apart, axis=0)).max() < 0.35


def test_a_drawn_person_fills_the_label(monkeypatch):
    """The crowd's boxes count from 0: no side is off by more than what is cut where a pixel is half covered."""
    import mot_occlusion.data.crowd_scene as module

    drawn, real = [], module.draw_walker

    def remembered(walker, height):
        result = real(walker, height)
        _, alpha, box, left, top = result
        solid = alpha > 0.5
        rows, columns = np.flatnonzero(solid.any(1)) + top, np.flatnonzero(solid.any(0)) + left
        edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        drawn.append((edges, [*box[:2], *(box[:2] + box[2:])]))
        return result

    monkeypatch.setattr(module, "draw_walker", remembered)
    frames = list(render_crowd(0, 4))
    edges, boxes = np.array(drawn).swapaxes(0, 1)
    assert np.abs((edges - boxes).mean(0)).max() < 0.4
    reported = np.concatenate([frame.boxes for frame in frames])
    assert all(np.isclose(boxes[:, :2], box[:2]).all(1).any() for box in reported)


def test_a_box_is_written_from_one_and_read_from_zero(tmp_path):
    (tmp_path / "a.txt").write_text(result_line(3, 7, (0.0, 10.0, 4.0, 8.0), 0.5))
    assert (tmp_path / "a.txt").read_text() == "3,7,1.00,11.00,4.00,8.00,0.50,-1,-1,-1\n"
    assert read_results(tmp_path / "a.txt").boxes.tolist() == [[0, 10, 4, 8]]
