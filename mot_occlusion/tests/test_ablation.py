import json

import ablate as ablate_command
import numpy as np
import pytest
import torch

from mot_occlusion import ablation
from mot_occlusion.checkpoints import PACKAGED, TrackingModel, load_model
from mot_occlusion.data.synthetic_crowd import write_crowd
from mot_occlusion.detections import Detections
from mot_occlusion.io.mot_format import read_gt

ARGUMENTS = ["--sequences", "1", "--tuning", "1", "--frames", "20", "--device", "cpu"]


@pytest.fixture(scope="module")
def claim(tmp_path_factory):
    """The travelling network and one of random weights stand for two seeds."""
    folder = tmp_path_factory.mktemp("ablation")
    torch.manual_seed(1)
    model = load_model()
    other = TrackingModel(model.backbone, model.heads, model.input_size, head_channels=model.network.hm[0].out_channels)
    other.save_pretrained(folder / "other")
    packaged = str(ablation.load_model.__globals__["PACKAGED"])
    assert (
        ablate_command.main(
            ["--out", str(folder / "out"), "--checkpoint", f"{packaged},{folder / 'other'}", *ARGUMENTS]
        )
        == 0
    )
    return folder / "out"


def test_ablation_writes_tables_figures_and_the_claim(claim):
    content = json.loads((claim / "claim.json").read_text())
    assert {"claim", "verdict", "holds", "tables", "figures", "seeds"} <= content.keys()
    people, trackers = content["tables"]
    assert (
        len(people["rows"]) == 2
        and people["rows"][0]["seen to 0.5, trained"] > people["rows"][1]["seen to 0.5, untrained"]
    )
    names = [row["tracker"] for row in trackers["rows"]]
    assert names[:3] == ["IoU only, published", "IoU only, fair", "+ re-ID"] and any(
        "(chosen)" in name for name in names
    )
    for figure in content["figures"]:
        assert (claim / figure["file"]).stat().st_size < 200_000


def test_a_claim_that_random_weights_spoil_is_not_said_to_hold(claim):
    content = json.loads((claim / "claim.json").read_text())
    assert content["holds"] is False and "rank-1" in content["verdict"]


def test_what_is_done_is_not_done_again(claim, monkeypatch):
    monkeypatch.setattr(ablation, "detect", lambda *arguments: pytest.fail("detected again"))
    before = (claim / "claim.json").read_text()
    again = ablation.ablate(claim, [PACKAGED, claim.parent / "other"], 1, 1, 20)
    assert json.loads(json.dumps(again)) == json.loads(before)


def test_parts_of_other_weights_are_not_taken_for_these(claim):
    folder = claim / "crowd" / "CROWD-01"
    first, second = (TrackingModel("small", {"hm": 1, "id": 4}) for _ in range(2))
    assert ablation._part(claim, first, 0, folder) != ablation._part(claim, second, 0, folder)


def test_a_perfect_detector_tracks_everybody_it_is_shown(tmp_path):
    """True boxes, an embedding an identity: no false alarm but in frames where a box is repeated, and no switch."""
    (folder,) = write_crowd(tmp_path, 1, 25, seed=3)
    rows = read_gt(folder / "gt" / "gt.txt")
    directions = np.random.default_rng(0).standard_normal((rows.ids.max() + 1, 64)).astype(np.float32)
    detections = []
    for frame in range(1, 26):
        now = rows.select((rows.frames == frame) & (rows.visibility > 0.3))
        boxes = now.xyxy().astype(np.float32)
        detections.append(Detections(boxes, np.ones(len(boxes), np.float32), directions[now.ids], np.zeros((0, 2))))
    results = ablation.run_arms(detections, folder)["+ re-ID"]
    found = ablation._scores([{"arms": {"+ re-ID": results}}], "+ re-ID")
    assert found["IDSW"] == 0 and found["CLR_FP"] <= 2 and found["MOTA"] > 0.6
