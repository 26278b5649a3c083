"""Mouths that preprocess has cut out, as training data."""

import json

import numpy as np
import pytest

from av_deepfake.data.layouts import open_set
from av_deepfake.data.pretraining import TalkingData
from av_deepfake.data.stored import StoredMouths, labelled
from shared_utils import UserError


def stored(folder, name, frames=50, sound=True, variant="subpixel", value=0):
    """A video as ``preprocess`` leaves it."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", np.full((frames, 96, 96), value, np.uint8))
    if sound:
        np.save(folder / f"{name}.sound.npy", np.arange(frames * 640, dtype=np.int16))
    facts = {"status": "ok", "sound": "" if sound else "none", "variant": variant, "landmarks": "mtcnn5", "fps": 29.97}
    facts |= {"crop_scale": 1.5, "runs": [[0, frames, 1, 0]]}
    (folder / f"{name}.json").write_text(json.dumps(facts))


def test_talking_videos_of_a_store_are_trained_on_and_some_are_held(tmp_path):
    for i in range(12):
        stored(tmp_path / "mouths", f"{i:02d}.mp4", value=i)
    data = TalkingData(str(tmp_path / "mouths"), batch_size=4, held=2, shifted=1)
    pictures, sound, video = data.batches()[0]
    assert pictures.shape == (4, 25, 88, 88) and sound.shape == (4, 2, 100, 80)
    assert (pictures[:, 0, 0, 0] == video).all() and len(data.held) == 2
    assert data.preprocessing["variant"] == "subpixel" and data.preprocessing["crop_size"] == 96
    assert data.training["pretraining"]["ranges"]["fps"] == [29.97, 29.97]


def test_a_small_network_sees_as_much_of_a_crop_as_a_large_one(tmp_path):
    stored(tmp_path / "mouths", "a.mp4"), stored(tmp_path / "mouths", "b.mp4")
    for name in ("a.mp4", "b.mp4"):
        np.save(tmp_path / f"mouths/{name}.npy", np.tile(np.arange(96, dtype=np.uint8) * 2, (50, 96, 1)))
    data = TalkingData(str(tmp_path / "mouths"), batch_size=2, held=1, shifted=0, size=24)
    assert data.preprocessing["crop_size"] == 26
    seen = np.asarray(data.mouths.pictures(0, 0, 3))
    assert seen.shape == (3, 26, 26) and seen[0, 0, 0] < 8 and seen[0, 0, -1] > 182


def test_videos_without_sound_and_crops_of_two_kinds_are_named(tmp_path):
    stored(tmp_path, "a.mp4"), stored(tmp_path, "b.mp4", sound=False), stored(tmp_path, "c.mp4", variant="2020")
    with pytest.raises(UserError, match=r"1 of 3 videos.*no sound.*b.mp4"):
        StoredMouths.open(tmp_path, sound=True)
    with pytest.raises(UserError, match=r"different ways: subpixel from mtcnn5 \(2\), 2020 from mtcnn5 \(1\)"):
        _ = StoredMouths.open(tmp_path).crop
    with pytest.raises(UserError, match="nowhere not found"):
        StoredMouths.open(tmp_path / "nowhere")


def test_labels_of_a_list_meet_their_mouths(tmp_path, caplog):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "list.csv").write_text("path,label\na.mp4,0\nb.mp4,1\nc.mp4,1\n")
    stored(tmp_path / "mouths", "a.mp4", frames=60), stored(tmp_path / "mouths", "b.mp4", frames=10)
    found = open_set(tmp_path / "list.csv")
    videos = labelled(found, str(tmp_path / "mouths"), 25, 110)
    assert videos.label.tolist() == [0, 1] and videos.index.video.tolist() == [0, 0, 1] and "c.mp4" in caplog.text
    assert videos.index.frames.tolist() == [25, 25, 10]
    with pytest.raises(UserError, match="a.mp4 is a video: cut the mouths out with preprocess"):
        labelled(found, None, 25, 110)
