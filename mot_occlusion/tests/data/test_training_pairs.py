import logging

import numpy as np
import pytest
import torch

from mot_occlusion.data.mot import read_videos
from mot_occlusion.data.mot_format import read_gt
from mot_occlusion.data.synthetic_crowd import write_crowd
from mot_occlusion.data.training_pairs import TrainingPairs
from mot_occlusion.data.transforms import AffineRanges
from mot_occlusion.lightning_module import TrackingModule
from shared_utils import UserError
from shared_utils.loading import EpochSampler

SIZE = (64, 96)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Three short sequences on disk."""
    root = tmp_path_factory.mktemp("crowd")
    write_crowd(root / "train", 3, 12, seed=5, size=SIZE, num_people=(4, 6))
    return root


def _pairs(root, **options):
    return TrainingPairs(read_videos(root), SIZE, seed=0, max_objects=16, **{"affine": AffineRanges(), **options})


def test_training_never_reads_an_identity(crowd, tmp_path):
    """With the id column emptied and the lines of every frame shuffled the loss is the same."""
    import shutil

    shutil.copytree(crowd / "train", tmp_path / "train")
    rng = np.random.default_rng(0)
    for path in tmp_path.glob("train/*/gt/gt.txt"):
        fields = [line.split(",") for line in path.read_text().splitlines()]
        rng.shuffle(fields)
        path.write_text("".join(",".join([f[0], "", *f[2:]]) + "\n" for f in fields))
    with pytest.raises(UserError):
        read_gt(path)  # whoever wants identities does not find any

    losses = []
    for root in (crowd, tmp_path):
        torch.manual_seed(0)
        module = TrackingModule("small", 16, SIZE)
        module.log = lambda *arguments, **options: None
        pairs = _pairs(root, negative_fraction=0.3)
        batch = torch.utils.data.default_collate([pairs[(0, index)] for index in range(6)])
        losses.append(module.training_step(batch, 0).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_pairs_are_negative_as_often_as_asked_for(crowd):
    pairs = _pairs(crowd, negative_fraction=0.2, affine=None)
    found = [pairs[(epoch, index)]["negative"] for epoch in range(12) for index in range(len(pairs))]
    assert np.mean(found) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / len(found)))
    assert not any(_pairs(crowd, affine=None)[(0, index)]["negative"] for index in range(len(pairs)))


def test_pairs_of_one_video_lie_at_most_max_gap_apart(crowd, monkeypatch):
    import mot_occlusion.data.training_pairs as module

    seen, real = [], module.read_image
    monkeypatch.setattr(module, "read_image", lambda path: seen.append(path) or real(path))
    pairs = _pairs(crowd, max_gap=2, negative_fraction=0.0)
    for index in range(len(pairs)):
        _ = pairs[(0, index)]
    gaps = [abs(int(a.stem) - int(b.stem)) for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert {0, 1, 2} == set(gaps) and all(a.parent == b.parent for a, b in zip(seen[::2], seen[1::2], strict=True))


def test_a_pair_follows_from_seed_epoch_and_index(crowd):
    pairs = _pairs(crowd)
    assert torch.equal(pairs[(2, 5)]["image"], pairs[(2, 5)]["image"])
    assert not torch.equal(pairs[(2, 5)]["image"], pairs[(3, 5)]["image"])


def test_order_of_an_epoch_follows_from_seed_and_epoch(crowd):
    pairs = _pairs(crowd)

    def order(rank, epoch):
        sampler = EpochSampler(pairs, 2, rank, shuffle=True, seed=1)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(0, 1) == order(0, 1) != order(0, 2) and sorted(order(0, 1) + order(1, 1)) == list(range(len(pairs)))


def test_a_frame_that_cannot_be_read_is_named_and_another_one_taken(crowd, tmp_path, caplog):
    import shutil

    shutil.copytree(crowd / "train", tmp_path / "train")
    broken = tmp_path / "train" / "CROWD-01" / "img1" / "000001.jpg"
    broken.write_bytes(b"not an image")
    with caplog.at_level(logging.WARNING):
        pair = _pairs(tmp_path)[(0, 0)]
    assert "000001.jpg" in caplog.text and pair["image"].shape == (3, *SIZE)


def test_two_people_in_one_cell_are_compared_once(crowd):
    video = read_videos(crowd)[0]
    twice = [np.concatenate((boxes, boxes)) for boxes in video.boxes]
    video = type(video)(video.name, video.images, twice, [np.ones(len(boxes), np.float32) for boxes in twice])
    targets = TrainingPairs([video], SIZE, seed=0, max_objects=32)[(0, 0)]["targets"]
    assert targets["reg_mask"].sum() == 2 * targets["reid_mask"].sum() > 0


def test_flip_turns_image_and_boxes_together(crowd):
    video = read_videos(crowd)[:1]
    plain, turned = (
        TrainingPairs(video, SIZE, seed=0, colour=0.0, flip=flip, max_objects=16)[(0, 0)] for flip in (0.0, 1.0)
    )
    assert torch.equal(plain["image"].flip(2), turned["image"])
    mirrored = plain["targets"]["hm"][0, :, ::-1]
    # Centres lie inside their cells, so a mirrored peak is in the mirrored cell or its neighbour.
    peaks, others = np.argwhere(mirrored == 1), np.argwhere(turned["targets"]["hm"][0] == 1)
    assert len(peaks) == len(others) and all(np.abs(others - peak).sum(1).min() <= 1 for peak in peaks)
