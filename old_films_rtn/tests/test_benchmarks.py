"""The published order of work that the benchmark compares with gives our numbers."""

import importlib.util
from pathlib import Path

import torch

from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.swin import RestorationTransformer

SPEC = importlib.util.spec_from_file_location("speed", Path(__file__).parents[1] / "benchmarks" / "speed.py")
speed = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(speed)


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
