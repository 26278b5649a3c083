import pytest

from mot_occlusion.data.datamodule import TrackingDataModule
from mot_occlusion.data.synthetic_crowd import write_crowd
from shared_utils import UserError

SIZE = (64, 96)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Three short sequences on disk."""
    root = tmp_path_factory.mktemp("crowd")
    write_crowd(root / "train", 3, 12, seed=5, size=SIZE, num_people=(4, 6))
    return root


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (100, 96)}, "multiples of 32"),
        ({"negative_fraction": 1.0}, "negative_fraction"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(UserError, match=message):
        TrackingDataModule(**options)


def test_half_split_of_a_root_trains_and_validates_on_different_frames(crowd):
    module = TrackingDataModule(str(crowd), input_size=SIZE, batch_size=2, max_objects=16)
    training = {path for video in module.training_pairs.videos for path in video.images}
    validation = {path for video in module.val_dataloader().dataset.videos for path in video.images}
    assert len(training) == len(validation) == 18 and not training & validation
    assert all(video.ids is None for video in module.training_pairs.videos)
