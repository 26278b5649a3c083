"""LipForensics' example pair of 96-pixel mouth crops: read as it is; scored by the published weights where they are."""

import os
from pathlib import Path

import pytest

from av_deepfake.data.layouts import open_set
from av_deepfake.evaluation import VideoSuspects
from av_deepfake.preprocessing import Settings
from av_deepfake.pretrained import load

EXAMPLES = Path(__file__).parents[4] / "shared/data/av_deepfake/lipforensics_examples"
WEIGHTS = os.environ.get("LIPFORENSICS_WEIGHTS")
pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason=f"{EXAMPLES} is not there")


@pytest.fixture
def pair(tmp_path):
    rows = ["path,label", "real.avi,0", "fake.avi,1"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return {"pair": open_set(tmp_path / "list.csv", base=EXAMPLES)}


def test_the_pair_has_twelve_whole_clips_and_four_by_the_published_protocol(pair):
    suspects = VideoSuspects(pair, Settings(aligned=True), protocol="lipforensics")
    seen = suspects.look(1, "clean")
    assert seen.pictures.shape == (4, 25, 96, 96) and seen.valid.all()
    assert seen.cues["has sound"] == 0 and seen.cues["frame count"] == 303 and seen.cues["file type"] == "avi"
    assert len(VideoSuspects(pair, Settings(aligned=True)).look(0, "clean").pictures) == 12


@pytest.mark.skipif(WEIGHTS is None, reason="LIPFORENSICS_WEIGHTS does not name the published weights")
def test_the_published_weights_find_the_fake(pair):
    model = load(WEIGHTS)
    suspects = VideoSuspects(pair, Settings(aligned=True), protocol="lipforensics")
    found = [suspects.look(row, "clean") for row in (0, 1)]
    real, fake = (model.score(each.pictures, each.valid).mean() for each in found)
    assert fake > real
