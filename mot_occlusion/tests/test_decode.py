import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mot_occlusion.decode import Letterbox, decode_boxes, decode_occlusions, embeddings_at
from mot_occlusion.targets import detection_targets


def _logit(heatmap):
    return torch.logit(torch.from_numpy(heatmap).clamp(1e-4, 1 - 1e-4))[None]


def test_targets_decode_to_the_boxes_they_were_made_of():
    boxes = np.array([[0.3, 0.4, 0.1, 0.3], [0.7, 0.6, 0.2, 0.4]], np.float32)
    size = (24, 32)
    targets = detection_targets(boxes, size, 4)
    wh, reg = torch.zeros(1, 4, *size), torch.zeros(1, 2, *size)
    for slot in range(2):
        y, x = divmod(int(targets["ind"][slot]), size[1])
        wh[0, :, y, x], reg[0, :, y, x] = torch.tensor(targets["wh"][slot]), torch.tensor(targets["reg"][slot])
    found = decode_boxes(_logit(targets["hm"]), wh, reg, 10)
    scaled = boxes * np.array([32, 24, 32, 24])
    expected = np.concatenate((scaled[:, :2] - scaled[:, 2:] / 2, scaled[:, :2] + scaled[:, 2:] / 2), 1)
    sure = found.boxes[0][found.scores[0] > 0.99].numpy()
    assert np.allclose(sure[np.argsort(sure[:, 0])], expected, atol=1e-4)


def test_overlaps_decode_to_their_centres():
    boxes = np.array([[0.5, 0.5, 0.3, 0.6], [0.55, 0.5, 0.28, 0.6]], np.float32)
    targets = detection_targets(boxes, (24, 32), 4)
    offset = torch.zeros(1, 2, 24, 32)
    y, x = divmod(int(targets["occ_ind"][0]), 32)
    offset[0, :, y, x] = torch.tensor(targets["occ_offset"][0])
    centres, scores = decode_occlusions(_logit(targets["occlusion"]), offset, 5)
    assert scores[0, 0] > 0.99 and centres[0, 0].numpy() == pytest.approx([(0.41 + 0.65) / 2 * 32, 12], abs=1e-3)


def test_embeddings_gathered_first_equal_those_normalised_first():
    maps, cells = torch.randn(2, 8, 5, 6), torch.tensor([[0, 7, 29], [3, 3, 11]])
    all_normalised = F.normalize(maps, dim=1).flatten(2)
    expected = torch.stack([all_normalised[b][:, cells[b]].T for b in range(2)])
    assert torch.allclose(embeddings_at(maps, cells), expected, atol=1e-6)


def test_older_files_with_two_sizes_decode_around_the_centre():
    hm = torch.full((1, 1, 4, 4), -9.0)
    hm[0, 0, 1, 2] = 3
    wh = torch.tensor([2.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert decode_boxes(hm, wh, torch.zeros(1, 2, 4, 4), 1).boxes[0, 0].tolist() == [1, -0.5, 3, 2.5]


def test_more_peaks_asked_for_than_cells_gives_the_cells():
    assert decode_boxes(torch.randn(1, 1, 4, 4), torch.rand(1, 4, 4, 4), None, 500).boxes.shape == (1, 16, 4)


@pytest.mark.parametrize("image_size", [(540, 960), (576, 768), (400, 300), (100, 37), (192, 320)])
def test_letterbox_fills_the_input_and_takes_boxes_there_and_back(image_size):
    box = Letterbox.of(image_size, (192, 320))
    image = np.full((*image_size, 3), 255, np.uint8)
    fitted = box(image)
    assert fitted.shape == (192, 320, 3)
    rows, columns = (np.flatnonzero((fitted > 200).all(2).any(axis)) for axis in (1, 0))
    corners = box.boxes_to_input(np.array([[0, 0, image_size[1], image_size[0]]], np.float64))[0]
    assert np.abs(corners - [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).max() <= 1
    boxes = np.array([[3.0, 5.0, 30.0, 60.0]])
    back = box.cells_to_image(box.boxes_to_input(boxes) / 4, (48, 80))
    assert np.abs(back - boxes).max() <= 1.5 / box.ratio  # the published inverse leaves the rounding of the border out
