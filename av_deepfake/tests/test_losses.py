"""The losses: closed forms, negatives that are none, masks, precision."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from av_deepfake import losses


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [normalize(torch.randn(6, 8, generator=generator), dim=1) for _ in range(2)]


def test_equal_rows_give_the_loss_of_a_guess():
    rows = torch.ones(6, 8)
    assert losses.symmetric_infonce(rows, rows, 0.07) == pytest.approx(math.log(6))


def test_it_is_the_mean_of_both_directions(pair):
    video, audio = pair
    scores = video @ audio.T / 0.1
    target = torch.arange(6)
    both = torch.nn.functional.cross_entropy(scores, target) + torch.nn.functional.cross_entropy(scores.T, target)
    torch.testing.assert_close(losses.symmetric_infonce(video, audio, 0.1), both / 2)


def test_shifted_sound_adds_columns_to_the_video_side_alone(pair):
    video, audio = pair
    shifted = normalize(torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(1)), dim=2)
    columns = torch.cat([audio, shifted.reshape(12, 8)])
    target = torch.arange(6)
    expected = (
        torch.nn.functional.cross_entropy(video @ columns.T / 0.1, target)
        + torch.nn.functional.cross_entropy(audio @ video.T / 0.1, target)
    ) / 2
    torch.testing.assert_close(losses.symmetric_infonce(video, audio, 0.1, shifted), expected)


def test_clips_of_one_video_are_no_negatives(pair):
    video, audio = pair
    ids = torch.tensor([0, 1, 2, 3, 4, 4])
    shifted = torch.stack([audio.flip(0), audio.roll(1, 0)], 1)

    # Without all other clips, rows 4 and 5 of one video have no negatives but their own shifted sound.
    alone = losses.symmetric_infonce(video[4:], audio[4:], 0.1, ids=ids[4:])
    assert alone.item() == 0.0
    each = [losses.symmetric_infonce(video[i : i + 1], audio[i : i + 1], 0.1, shifted[i : i + 1]) for i in (4, 5)]
    both = losses.symmetric_infonce(video[4:], audio[4:], 0.1, shifted[4:], ids=ids[4:])
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)
    masked = losses.symmetric_infonce(video, audio, 0.1, shifted, ids=ids)
    assert masked < losses.symmetric_infonce(video, audio, 0.1, shifted)


def test_rows_of_the_queue_are_negatives_but_those_of_the_same_video(pair):
    video, audio = pair
    queue = losses.Queue(4, 8)
    plain = losses.symmetric_infonce(video, audio, 0.1)
    ids = torch.arange(6)
    assert losses.symmetric_infonce(video, audio, 0.1, ids=ids, queue=queue) == plain
    queue.push(video, audio, ids)
    assert queue.ids.tolist() == [2, 3, 4, 5]
    assert losses.symmetric_infonce(video, audio, 0.1, ids=ids + 100, queue=queue) > plain
    same = losses.symmetric_infonce(video[2:], audio[2:], 0.1, ids=torch.full((4,), 7))
    queue.ids.fill_(7)
    assert losses.symmetric_infonce(video[2:], audio[2:], 0.1, ids=torch.full((4,), 7), queue=queue) == same


def test_the_queue_is_restored_whatever_it_holds(pair):
    queue = losses.Queue(4, 8)
    queue.push(*pair, torch.arange(6))
    again = losses.Queue(4, 8)
    again.load_state_dict(queue.state_dict())
    torch.testing.assert_close(again.audio, queue.audio)


def test_the_momentum_encoder_follows():
    online, slow = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    with torch.no_grad():
        online.weight.fill_(3.0)
        online.running_mean.fill_(5.0)
    losses.follow(slow, online, 0.75)
    assert slow.weight.tolist() == [1.5] * 3 and slow.running_mean.tolist() == [5.0] * 3


def test_frames_that_do_not_count_are_left_out(pair):
    video, audio = (rows[None] for rows in pair)
    valid = torch.arange(6)[None] < 4
    torch.testing.assert_close(
        losses.frame_infonce(video, audio, 0.1, valid), losses.symmetric_infonce(video[0, :4], audio[0, :4], 0.1)
    )
    torch.testing.assert_close(
        losses.frame_infonce(video, audio, 0.1), losses.symmetric_infonce(video[0], audio[0], 0.1)
    )
    assert losses.frame_infonce(video, audio, 0.1, torch.zeros(1, 6, dtype=torch.bool)) == 0


def test_half_precision_is_left_before_the_logits(pair):
    video, audio = (rows.bfloat16() for rows in pair)
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses.symmetric_infonce(video, audio, 0.01)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, losses.symmetric_infonce(video.float(), audio.float(), 0.01))


def test_the_temperature_is_never_below_a_hundredth():
    temperature = losses.Temperature(0.07)
    assert temperature().item() == pytest.approx(0.07)
    with torch.no_grad():
        temperature.log_scale.fill_(20.0)
    assert temperature().item() == pytest.approx(0.01)


def test_collapse_is_visible():
    spread = losses.collapse(torch.randn(200, 16, generator=torch.Generator().manual_seed(0)))
    assert spread["spread"] == pytest.approx(1, abs=0.05) and spread["rank"] > 14 and abs(spread["similarity"]) < 0.05
    fallen = losses.collapse(torch.ones(50, 16))
    assert fallen["spread"] < 1e-5 and fallen["similarity"] == pytest.approx(1)


def test_retrieval_of_matching_rows_is_perfect(pair):
    assert losses.retrieval(pair[0], pair[0]) == {"top1_va": 1.0, "top1_av": 1.0}
    assert losses.retrieval(pair[0], pair[0].roll(1, 0)) == {"top1_va": 0.0, "top1_av": 0.0}
