"""The front-ends: shapes, sizes, names, and that a frame is seen with its neighbours and no others."""

import pytest
import torch

from av_deepfake.models.audio import MelEncoder, WaveformEncoder
from av_deepfake.models.frontend import VideoFrontend
from av_deepfake.models.mstcn import MouthTCN

SMALL = {"channels": 4, "widths": (4, 6), "blocks": (1, 1)}


@pytest.mark.parametrize("size", [16, 24, 88])
def test_pictures_of_any_size_give_a_vector_a_frame(size):
    assert VideoFrontend(**SMALL)(torch.randn(2, 1, 5, size, size)).shape == (2, 5, 6)


@torch.no_grad()
def test_cells_of_a_grid_have_the_published_average_as_their_mean_and_know_where_things_are():
    whole, cells = VideoFrontend(**SMALL).eval(), VideoFrontend(**SMALL, grid=2).eval()
    cells.load_state_dict(whole.state_dict())
    clip = torch.randn(1, 1, 5, 32, 32)
    features = cells(clip)
    assert features.shape == (1, 5, cells.width) == (1, 5, 24) and VideoFrontend(**cells.config).width == 24
    torch.testing.assert_close(features.unflatten(2, (6, 4)).mean(3), whole(clip))
    assert (features.unflatten(2, (6, 4)).std(3) > 1e-4).any()


@torch.no_grad()
def test_without_pooling_the_stem_gives_the_trunk_twice_the_side_and_has_the_same_weights():
    pooled, fine = VideoFrontend(**SMALL).eval(), VideoFrontend(**SMALL, stem_pooling=False).eval()
    fine.load_state_dict(pooled.state_dict())
    clip = torch.randn(1, 1, 5, 24, 24)
    assert pooled.frontend3D(clip).shape[-2:] == (6, 6) and fine.frontend3D(clip).shape[-2:] == (12, 12)
    torch.testing.assert_close(
        torch.nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))(fine.frontend3D(clip)), pooled.frontend3D(clip)
    )
    assert not VideoFrontend(**fine.config).config["stem_pooling"]


def test_names_are_the_published_ones():
    names = set(VideoFrontend().state_dict())
    assert {"frontend3D.0.weight", "frontend3D.2.weight", "trunk.layer4.1.relu2.weight"} <= names
    assert "trunk.layer2.0.downsample.1.running_var" in names


@torch.no_grad()
def test_a_frame_depends_on_two_neighbours_on_each_side():
    network = VideoFrontend(**SMALL).eval()
    clip = torch.randn(1, 1, 11, 24, 24)
    changed = clip.clone()
    changed[:, :, 5] += 1
    moved = (network(clip) - network(changed)).abs().amax((0, 2)) > 1e-7
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


def test_stages_without_blocks_are_refused():
    with pytest.raises(ValueError, match="one number of each a stage"):
        VideoFrontend(4, (4, 6), (1,))


@pytest.mark.parametrize("frames", [1, 3, 25])
def test_sound_gives_a_vector_a_video_frame(frames):
    assert MelEncoder((4, 6), (1, 1))(torch.randn(2, 1, 4 * frames, 80)).shape == (2, frames, 6)
    assert WaveformEncoder((4, 4, 4, 6), (1, 1, 1, 1))(torch.randn(2, 1, 640 * frames)).shape == (2, frames, 6)


@torch.no_grad()
def test_frames_that_do_not_count_leave_the_logit_of_the_tcn():
    network = MouthTCN(1, 4, (3, 5), 2, 0.0, **SMALL).eval()
    encoded = network.encode(network.features(torch.randn(1, 1, 8, 24, 24)))
    valid = torch.arange(8)[None] < 5
    torch.testing.assert_close(network.classify(encoded, valid), network.classify(encoded[:, :, :5]))
