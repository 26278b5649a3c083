"""The published order of work that the speed benchmark compares with gives our numbers; what the colour benchmark measures."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.swin import RestorationTransformer


def script(name):
    spec = importlib.util.spec_from_file_location(Path(name).stem, Path(__file__).parents[1] / "benchmarks" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


speed, colour, temporal = map(script, ("speed.py", "colour.py", "peers/temporal_attention.py"))


def test_flow_pair_by_pair_is_ours():
    torch.manual_seed(0)
    raft, clip = RAFT(), speed.moving_clip(2, 128, 128)
    with torch.no_grad():
        published = speed.published_flow(raft, clip[:, 1], clip[:, 0], iterations=2)
        ours = raft.flow(raft.features(clip[:, 1]), raft.features(clip[:, 0]), iterations=2)
    assert (published - ours).abs().max() < 1e-4 * published.abs().max()


def test_the_transformer_with_a_mask_for_every_window_is_ours():
    torch.manual_seed(0)
    transformer = RestorationTransformer(width=16, depths=(2,), num_heads=2).eval()
    features = torch.randn(2, 16, 48, 32)
    with torch.no_grad():
        published, ours = speed.published_transformer(transformer, features), transformer(features)
    assert (published - ours).abs().max() < 1e-5


def test_a_convolution_over_time_by_neighbours_is_a_3d_one():
    torch.manual_seed(0)
    layer, clip = temporal._Time(2, 3), torch.randn(5, 2, 8, 9)
    weight = layer.space[0].weight.view(3, 3, 2, 3, 3).transpose(1, 2)
    published = F.conv3d(clip.transpose(0, 1)[None], weight, layer.space[0].bias, padding=1)
    with torch.no_grad():
        assert torch.allclose(layer(clip), F.leaky_relu(published, 0.1)[0].transpose(0, 1), atol=1e-5)


def test_temporal_attention_leaves_what_is_given():
    torch.manual_seed(0)
    clip = torch.rand(3, 4, 16, 16)
    clip[:, 3] = 0
    clip[1, 3] = 1
    with torch.no_grad():
        answer = temporal.TemporalAttention()(clip)
    assert torch.equal(answer[1], clip[1, 1:3]) and not torch.equal(answer[0], clip[0, 1:3])


def test_regions_and_scores_of_colour_know_the_truth():
    sample = colour.made_clip(0, 5, 48, None)
    regions = colour.regions(sample, [0])
    assert not regions["in no key-frame"][0].any() and regions["in no key-frame"][4].any()
    assert not (regions["hidden between"] & regions["in no key-frame"]).any()
    scores = colour.Scores()
    truth = torch.from_numpy(sample["lab"][:, 1:]) / 110
    clip = colour.network_clip(sample, [0])
    scores.add({"grey": clip[:, 1:3], "off by 2": truth + 2 / 110}, sample, regions)
    rows = {row["method"]: row for row in scores.rows()}
    assert abs(rows["off by 2"]["all"] - 20 * np.log10(110)) < 1e-3 < rows["off by 2"]["all"] - rows["grey"]["all"]
    assert rows["truth"]["colourfulness"] == 1 and rows["grey"]["colourfulness"] < 0.1
