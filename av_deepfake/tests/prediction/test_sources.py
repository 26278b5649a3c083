"""Which videos are meant."""

import pytest

from av_deepfake.prediction.sources import collect
from shared_utils import UserError


def test_videos_of_a_folder_in_natural_order_without_the_results(tmp_path):
    for name in ("v10.mp4", "v2.mp4", "a/v1.MPG", ".hidden/v.mp4", "out/v.mp4", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    found = collect(tmp_path, leave_out=tmp_path / "out")
    assert found.names == ("v2.mp4", "v10.mp4", "a/v1.MPG")
    assert collect(tmp_path, limit=1).names == ("v2.mp4",)
    assert found.facts()[2] == ["a/v1.MPG", 1] and found.path("a/v1.MPG").is_file()
    assert collect(tmp_path / "v2.mp4").names == ("v2.mp4",)


def test_nothing_to_score_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    for path, message in (
        (tmp_path / "none.mp4", "not found"),
        (tmp_path / "notes.txt", "not a video of a known kind"),
        (tmp_path, "holds no video"),
    ):
        with pytest.raises(UserError, match=message):
            collect(path)
