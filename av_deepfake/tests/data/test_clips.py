"""Clips of videos, and the batches that are made of them."""

import numpy as np
import pytest

from av_deepfake.data.augmentation import Augmentation, centred
from av_deepfake.data.clips import ClipIndex, padded
from av_deepfake.data.labelled import Labelled, MouthBatches
from av_deepfake.data.mouths import ArrayMouths, FolderMouths, log_mel_of, window
from av_deepfake.data.talking import TalkingBatches
from shared_utils import UserError

PLAIN = Augmentation(flip=0.0)


class Marked:
    """Videos whose pictures hold (video, frame) in two pixels, and whose sound does."""

    def __init__(self, frames):
        self.frames = np.array(frames)

    def pictures(self, video, start, count):
        found = np.zeros((count, 8, 8), np.uint8)
        found[:, 0, 0], found[:, 0, 1] = video, np.arange(start, start + count)
        return found

    def mel(self, video, start, count):
        return np.repeat(np.stack([np.full(count, video), np.arange(start, start + count)], 1), 4, 0).astype(np.float32)


def test_clips_do_not_overlap_and_keep_their_video():
    index = ClipIndex.of([60, 0, 10, 25, 300], most_frames=110)
    assert index.video.tolist() == [0, 0, 2, 3, 4, 4, 4, 4] and index.dropped == (1,)
    assert index.start.tolist() == [0, 25, 0, 0, 0, 25, 50, 75] and index.frames.tolist() == [
        25,
        25,
        10,
        25,
        25,
        25,
        25,
        25,
    ]


def test_the_published_protocol_drops_short_videos_and_says_which():
    index = ClipIndex.of([24, 25, 49], pad_short=False)
    assert index.video.tolist() == [1, 2] and index.dropped == (0,)


def test_a_short_clip_repeats_its_last_frame_and_masks_it():
    pictures, valid = padded(np.arange(3, dtype=np.uint8).reshape(3, 1, 1), 5)
    assert pictures.ravel().tolist() == [0, 1, 2, 2, 2] and valid.tolist() == [True] * 3 + [False] * 2


def test_a_crop_a_flip_and_a_mask_are_the_same_for_all_frames():
    clip = np.random.default_rng(0).integers(0, 255, (1, 12, 12), np.uint8).repeat(9, 0)
    found = Augmentation(flip=1.0).pictures(clip, 8, np.random.default_rng(1))
    assert found.shape == (9, 8, 8) and (found == found[:1]).all()
    spans = []
    for seed in range(20):
        masked = Augmentation(flip=0.0, time_mask=4).pictures(clip, 12, np.random.default_rng(seed))
        changed = np.flatnonzero((masked != clip).any((1, 2)))
        assert (np.diff(changed) == 1).all()
        spans.append(len(changed))
    assert set(spans) == {0, 1, 2, 3, 4}
    assert (centred(clip, 8) == clip[:, 2:10, 2:10]).all()
    with pytest.raises(UserError, match="smaller than data.size 88"):
        centred(clip, 88)


def test_every_video_comes_once_an_epoch_so_that_no_two_clips_of_one_are_negatives():
    batches = TalkingBatches(Marked([45] * 17), 8, 8, augmentation=PLAIN)
    seen = np.concatenate([batches[i].video.numpy() for i in range(2)])
    assert len(batches) == 2 and len(set(seen.tolist())) == 16


@pytest.mark.parametrize("frames", [44, 60])
def test_shifted_windows_are_of_the_same_video_and_far_enough_away(frames):
    batches = TalkingBatches(Marked([frames] * 9), 8, 8, shifted=2, augmentation=PLAIN)
    starts = set()
    for number in range(30):
        pictures, sound, video = batches[number]
        start = pictures[:, 0, 0, 1].int()
        assert (sound[:, :, 0, 0].int() == video[:, None]).all()
        assert (sound[:, 0, 0, 1].int() == start).all()  # its own sound is of the same time
        assert ((sound[:, 1:, 0, 1].int() - start[:, None]).abs() >= 10).all()
        assert int(sound[:, :, -1, 1].max()) <= frames - 1
        starts |= set(start.tolist())
    assert len(starts) > 10


def test_a_batch_is_the_same_whenever_it_is_asked_for():
    first, again = (TalkingBatches(Marked([50] * 20), 4, 8, seed=3) for _ in range(2))
    later = first[7], first[2]
    assert all((a == b).all() for a, b in zip(again[2], later[1], strict=True))


def test_in_the_control_nobody_has_his_own_sound():
    batches = TalkingBatches(Marked([45] * 12), 12, 8, shuffled=True, augmentation=PLAIN)
    _, sound, video = batches[0]
    assert (sound[:, 0, 0, 0].int() != video).all() and (sound[:, 0, 0, 0] == sound[:, 1, 0, 0]).all()


def test_too_few_or_too_short_videos_are_named():
    with pytest.raises(UserError, match=r"44 frames.*longest has 30.*data.shifted 0"):
        TalkingBatches(Marked([30] * 9), 8, 8)
    assert len(TalkingBatches(Marked([30] * 9), 8, 8, shifted=0)) == 1


def labelled(count=(4, 12, 6)):
    keys = [(method, str(i)) for method, n in zip(("real", "A", "B"), count, strict=True) for i in range(n)]
    label = np.array([method != "real" for method, _ in keys], int)
    mouths = Marked([60] * len(keys))
    return Labelled(mouths, keys, label, ClipIndex.of(mouths.frames))


def test_half_of_a_batch_is_real_and_methods_take_turns():
    videos = labelled()
    batches = MouthBatches(videos, 8, 8, augmentation=PLAIN)
    drawn = np.concatenate([batches[i].pictures[:, 0, 0, 0].numpy() for i in range(6)])
    methods = [videos.keys[i][0] for i in drawn]
    assert methods.count("real") == 24 and methods.count("A") == methods.count("B") == 12
    assert len(batches) == 5  # all fakes once
    assert all(batches[i].label.sum() == 4 for i in range(6))


def test_a_method_that_is_left_out_is_never_drawn():
    videos = labelled()
    batches = MouthBatches(videos, 8, 8, augmentation=PLAIN, methods=["A"])
    drawn = np.concatenate([batches[i].pictures[:, 0, 0, 0].numpy() for i in range(6)])
    assert {videos.keys[i][0] for i in drawn} == {"real", "A"}


def test_without_balance_videos_come_as_they_are_and_the_share_of_fakes_is_known():
    batches = MouthBatches(labelled(), 11, 8, balance="none")
    assert len(batches) == 2 and batches.fakes == pytest.approx(18 / 22)
    assert sum(float(batches[i].label.sum()) for i in range(2)) == 18


def test_a_set_of_one_class_makes_no_batch():
    with pytest.raises(UserError, match="0 real and 18 fake"):
        MouthBatches(labelled((0, 12, 6)), 8, 8)
    with pytest.raises(UserError, match="even number"):
        MouthBatches(labelled(), 7, 8)


def test_the_sound_of_a_window_is_normalised_as_if_it_were_alone():
    sound = np.random.default_rng(0).standard_normal((1, 45 * 640)).astype(np.float32) * np.linspace(
        0.1, 1, 45 * 640, dtype=np.float32
    )
    alone = log_mel_of(sound[0, 10 * 640 : 35 * 640], 25)
    cut = window(log_mel_of(sound[0], 45), 10, 25)
    inside = slice(2, -2)  # the ends see what is beyond them
    np.testing.assert_allclose(cut[inside], alone[inside], atol=0.03)
    assert ArrayMouths(np.zeros((1, 45, 8, 8), np.uint8), sound).mel(0, 10, 25).shape == (100, 80)


def test_videos_without_sound_are_named_in_pre_training():
    with pytest.raises(UserError, match="no sound"):
        ArrayMouths(np.zeros((1, 45, 8, 8), np.uint8)).mel(0, 0, 25)


def test_folders_of_crops_are_read_in_order(tmp_path):
    import cv2

    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i:04d}.png"), np.full((8, 8), 10 * i, np.uint8))
    mouths = FolderMouths([tmp_path])
    assert mouths.frames.tolist() == [3] and mouths.pictures(0, 1, 2)[:, 0, 0].tolist() == [10, 20]
    (tmp_path / "0001.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="0001.png cannot be read"):
        mouths.pictures(0, 0, 3)
