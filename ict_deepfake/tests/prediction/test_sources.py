"""Folders and videos are taken apart so that the parts join without a seam."""

import av
import numpy as np
import pytest
from PIL import Image

from ict_deepfake.prediction import sources
from ict_deepfake.prediction.sources import collect, parts, shots
from shared_utils import UserError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """40 frames at 10 a second, each with its number in its grey value."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:  # not in fragments, so that it knows its length
        stream = container.add_stream("mpeg4", 10, width=64, height=48)
        for number in range(40):
            grey = np.full((48, 64, 3), 6 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return path


def seen(collection, every, limit=None):
    return [shot for part in parts(collection, every, limit) for shot in shots(collection, part)]


def test_every_nth_frame_is_taken_once(video, monkeypatch):
    frames = [shot.frame for shot in seen(collect(video), 3)]
    assert frames == list(range(0, 40, 3))
    monkeypatch.setattr(sources, "TOGETHER", 4)
    in_stretches = seen(collect(video), 3)
    assert len(parts(collect(video), 3)) == 4
    assert [shot.frame for shot in in_stretches] == frames
    grey = [float(shot.image.mean()) for shot in in_stretches]
    np.testing.assert_allclose(grey, [6 * frame for frame in frames], atol=8)


def test_limit_counts_sampled_frames(video, monkeypatch):
    assert [shot.frame for shot in seen(collect(video), 3, limit=5)] == [0, 3, 6, 9, 12]
    monkeypatch.setattr(sources, "TOGETHER", 2)
    assert [shot.frame for shot in seen(collect(video), 3, limit=5)] == [0, 3, 6, 9, 12]


def test_files_come_in_natural_order_without_the_results(tmp_path):
    for name in ("a10.png", "a2.png", "out/crops/a2.png.0.png", ".hidden/x.png", "b/c.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name) if name.endswith(".png") else (tmp_path / name).write_text("")
    found = collect(tmp_path, leave_out=tmp_path / "out")
    assert found.names == ("a2.png", "a10.png", "b/c.png")
    assert collect(tmp_path, limit=1, leave_out=tmp_path / "out").names == ("a2.png",)


def test_unreadable_files_say_why(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert all(shot.image is None and shot.source in shot.why for shot in seen(collect(tmp_path), 5))


def test_nothing_to_look_at_is_refused(tmp_path):
    with pytest.raises(UserError, match="not found"):
        collect(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no picture and no video"):
        collect(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match="not of a known kind"):
        collect(tmp_path / "a.txt")
