"""Branches, pair and detector: shapes, parts, and configurations that make the same network again."""

import pytest
import torch

from av_deepfake.models.audio import MelEncoder
from av_deepfake.models.branches import AudioBranch, AudioVisual, Detector, VideoBranch
from av_deepfake.models.frontend import VideoFrontend

ENCODER = {"dim": 8, "depth": 1, "heads": 2, "mlp": 16, "dropout": 0.0, "frames": 6}
VIDEO = {"channels": 4, "widths": [4, 6], "blocks": [1, 1], **ENCODER}
AUDIO = {"widths": [4, 6], "blocks": [1, 1], **ENCODER}


def test_a_configuration_makes_the_same_network_again():
    fine = {**VIDEO, "stem_pooling": False, "grid": 2}
    for kind, config in ((VideoBranch, VIDEO), (AudioBranch, AUDIO), (Detector, VIDEO), (Detector, fine)):
        network = kind(**config)
        kind(**network.config).load_state_dict(network.state_dict())


@torch.no_grad()
def test_rows_of_the_pair_have_unit_length():
    pair = AudioVisual(VIDEO, AUDIO, 5).eval()
    pictures, sound = torch.randn(3, 1, 6, 24, 24), torch.randn(3, 1, 24, 80)
    for rows, shape in zip(
        [*pair(pictures, sound), *pair.frames(pictures, sound)], [(3, 5)] * 2 + [(3, 6, 5)] * 2, strict=True
    ):
        assert rows.shape == shape
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(shape[:-1]))


@torch.no_grad()
def test_rows_of_frames_side_by_side_compare_frame_by_frame():
    pair = AudioVisual(VIDEO, AUDIO, 5, compare="frames").eval()
    video, audio = pair(torch.randn(3, 1, 6, 24, 24), torch.randn(3, 1, 24, 80))
    assert video.shape == audio.shape == (3, 30)
    by_frame = (video.unflatten(1, (6, 5)) * audio.unflatten(1, (6, 5))).sum(2) * 6
    assert by_frame.abs().max() <= 1 + 1e-5
    torch.testing.assert_close((video * audio).sum(1), by_frame.mean(1))


@torch.no_grad()
def test_frames_that_are_not_valid_are_not_compared():
    pair = AudioVisual(VIDEO, AUDIO, 5, compare="frames").eval()
    rows = pair.embed_video(torch.randn(1, 1, 6, 24, 24), torch.tensor([[True] * 4 + [False] * 2])).clip
    assert not rows[0, 20:].any() and abs(float(rows.norm()) - 1) < 1e-5


def test_there_are_two_kinds_of_rows():
    with pytest.raises(ValueError, match="clip or frames"):
        AudioVisual(VIDEO, AUDIO, 5, compare="words")  # pyright: ignore


@torch.no_grad()
def test_the_detector_is_front_end_encoder_and_head():
    detector = Detector(**VIDEO).eval()
    pictures, valid = torch.randn(3, 1, 6, 24, 24), torch.arange(6)[None] < torch.tensor([[6], [4], [2]])
    features = detector.features(pictures)
    logits = detector(pictures, valid)
    assert logits.shape == (3,)
    torch.testing.assert_close(logits, detector.classify(features, valid))
    torch.testing.assert_close(logits, detector.head(detector.encode(features, valid).clip)[:, 0])


@torch.no_grad()
def test_waveforms_may_take_the_place_of_mel_bands():
    branch = AudioBranch("waveform", [4, 4, 4, 6], [1, 1, 1, 1], **ENCODER).eval()
    assert branch(torch.randn(2, 1, 6 * 640)).frames.shape == (2, 6, 8)


@torch.no_grad()
def test_frame_rows_see_their_neighbourhood_and_not_their_place():
    pair = AudioVisual(VIDEO, AUDIO, 5).eval()
    pictures = torch.randn(1, 1, 6, 24, 24)
    moved = torch.cat([pictures[:, :, 1:], pictures[:, :, :1]], 2)
    first, second = pair.embed_video(pictures).frames, pair.embed_video(moved).frames
    # Two frames on each side are seen, so of six frames the third is the same wherever it lies.
    torch.testing.assert_close(first[:, 3], second[:, 2])


def test_narrow_networks_train():
    """Widths that are no multiple of 8 must not be stored channels last, which crashes torch's backward pass."""
    for module, pictures in (
        (MelEncoder([4, 4], [1, 1]), torch.randn(2, 1, 16, 80)),
        (VideoFrontend(4, [4, 6], [1, 1]), torch.randn(2, 1, 4, 24, 24)),
    ):
        module(pictures).square().mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
