"""The encoder: masks, order, pooling, lengths."""

import pytest
import torch

from av_deepfake.models.transformer import TemporalEncoder, sinusoids

SMALL = {"inputs": 6, "dim": 8, "depth": 2, "heads": 2, "mlp": 16, "frames": 12}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", None])
@torch.no_grad()
def test_frames_that_do_not_count_change_nothing(pooling, positions):
    encoder = TemporalEncoder(**SMALL, positions=positions, pooling=pooling).eval()
    x = torch.randn(2, 9, 6)
    valid = torch.arange(9)[None] < torch.tensor([[9], [5]])
    whole, alone = encoder(x, valid), encoder(x[1:, :5])
    torch.testing.assert_close(whole.clip[1:], alone.clip, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whole.frames[1:, :5], alone.frames, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_clip_without_a_valid_frame_stays_finite():
    encoder = TemporalEncoder(**SMALL).eval()
    encoded = encoder(torch.randn(1, 4, 6), torch.zeros(1, 4, dtype=torch.bool))
    assert encoded.clip.isfinite().all() and encoded.frames.isfinite().all()


@pytest.mark.parametrize(("positions", "visible"), [("learned", True), ("sinusoidal", True), (None, False)])
@torch.no_grad()
def test_order_is_visible_through_positions_alone(positions, visible):
    encoder = TemporalEncoder(**SMALL, positions=positions).eval()
    x = torch.randn(1, 9, 6)
    assert torch.allclose(encoder(x).clip, encoder(x.flip(1)).clip, atol=1e-5) != visible


def test_more_frames_than_learned_positions_are_refused():
    with pytest.raises(ValueError, match="13 frames, and learned positions for 12"):
        TemporalEncoder(**SMALL)(torch.randn(1, 13, 6))
    TemporalEncoder(**SMALL, positions="sinusoidal")(torch.randn(1, 13, 6))


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"positions": "none"}, {"pooling": "max"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TemporalEncoder(**{**SMALL, **wrong})


def test_sinusoids_begin_with_sine_and_cosine_of_the_place():
    waves = sinusoids(5, 4)
    torch.testing.assert_close(waves[:, 0], torch.arange(5.0).sin())
    torch.testing.assert_close(waves[:, 1], torch.arange(5.0).cos())
