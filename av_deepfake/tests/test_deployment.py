"""What others load gives the detector's logits for any number of clips, and says what its input must be."""

import json

import numpy as np
import pytest
import torch
from small_model import crops, small_model

from av_deepfake import deployment
from av_deepfake.deployment import export_model
from av_deepfake.models.mstcn import MouthTCN
from av_deepfake.pretrained import MouthModel, load
from shared_utils import UserError
from shared_utils.checkpoint import load_tensors

FINE = {"stem_pooling": False, "grid": 2}
"""The front-end of small pictures."""


def given(model, count):
    frames = model.preprocessing["frames"]
    clips = np.stack([crops(frames, seed) for seed in range(count)])
    valid = np.arange(frames) < np.array([[25], [4], [2]])[:count]
    return clips, valid, torch.from_numpy(model.prepared(clips).astype(np.float32))


def test_torch_export_gives_the_same_for_another_number_of_clips(tmp_path):
    model, extra = small_model(stages=1, frames=6, front=FINE), {"av_deepfake.json": ""}
    said = export_model(model, tmp_path / "model.pt2", "pt2")
    clips, valid, fed = given(model, 3)
    with (tmp_path / "model.pt2").open("rb") as stream:
        written = torch.export.load(stream, extra_files=extra).module()(fed, torch.from_numpy(valid))
    np.testing.assert_allclose(written.detach().numpy(), model.score(clips, valid), atol=1e-5)
    assert json.loads(extra["av_deepfake.json"])["preprocessing"]["size"] == 24
    assert "middle 24x24" in said and [path.name for path in tmp_path.iterdir()] == ["model.pt2"]


def test_onnx_is_one_file_and_gives_the_same(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    model = small_model(stages=1, size=16, frames=6, front=FINE)
    export_model(model, tmp_path / "model.onnx", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    clips, valid, fed = given(model, 3)
    named = {"clips": fed[2:].numpy(), "valid": valid[2:]}
    written = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, named)[0]
    np.testing.assert_allclose(written, model.score(clips[2:], valid[2:]), atol=1e-5)
    facts = json.loads(onnx.load(tmp_path / "model.onnx").metadata_props[0].value)
    assert facts["outputs"] == ["logit"] and facts["pixels"] == "0-255"


def test_files_of_our_own_and_of_the_published_layouts_are_read_again(tmp_path):
    model = small_model()
    export_model(model, tmp_path / "pretrained", "pretrained")
    assert load(tmp_path / "pretrained").digest == model.digest
    assert "the encoder has none" in export_model(model, tmp_path / "front.pth", "published")
    branch = load(tmp_path / "front.pth").video
    assert torch.equal(branch.frontend.frontend3D[0].weight, model.video.frontend.frontend3D[0].weight)
    lips = MouthModel(detector=MouthTCN(1, 4, (3, 5), 2, channels=4, widths=(4, 6), blocks=(1, 1)).eval())
    assert "LipForensics' layout" in export_model(lips, tmp_path / "lips.pth", "published")
    assert set(load_tensors(tmp_path / "lips.pth")["model"]) == set(lips.detector.state_dict())
    clips = given(lips, 2)[0]
    assert np.array_equal(load(tmp_path / "lips.pth").score(clips), lips.score(clips))


def test_what_cannot_be_written_is_refused_and_nothing_is_kept(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="--to pt2 is of a detector"):
        export_model(small_model(detector=False), tmp_path / "model.pt2", "pt2")
    deployed = deployment.Deployed(small_model())
    with torch.no_grad(), pytest.raises(UserError, match="the logit differs by .* when read again: nothing is kept"):
        deployment._close(lambda clips, valid: np.ones(2), deployed, torch.zeros(2, 25, 24, 24), "onnx")
    monkeypatch.setattr(deployment, "load_tensors", lambda path: {})
    with pytest.raises(UserError, match="differs when read again"):
        export_model(small_model(), tmp_path / "front.pth", "published")
    assert not list(tmp_path.iterdir())
