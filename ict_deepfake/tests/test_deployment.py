"""What others load gives the detector's embeddings at any batch size, and says what its input must be."""

import json

import numpy as np
import pytest
import torch

from ict_deepfake import deployment
from ict_deepfake.deployment import export_detector
from ict_deepfake.faces.alignment import Alignment, network_input
from ict_deepfake.models.ict import ICT
from ict_deepfake.pretrained import Detector, load
from shared_utils import UserError

SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 1}
CROPS = list(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))


def detector(**options):
    torch.manual_seed(0)
    return Detector(ICT(**SMALL, **options), Alignment().scaled(64))


def fed():
    return (network_input(CROPS, 16) + 1) * 127.5


def check(outputs, model):
    inner, outer = model.embed(CROPS)
    for written, ours in zip(outputs, (inner, outer, (inner - outer).square().sum(1)), strict=True):
        written = written.detach() if torch.is_tensor(written) else written
        np.testing.assert_allclose(np.asarray(written), ours.numpy(), atol=1e-4)


def test_torchscript_gives_the_same_at_another_batch_size(tmp_path):
    model, extra = detector(), {"ict_deepfake.json": ""}
    said = export_detector(model, tmp_path / "model.pt", "torchscript")
    check(torch.jit.load(str(tmp_path / "model.pt"), _extra_files=extra)(fed()), model)
    facts = json.loads(extra["ict_deepfake.json"])
    assert Alignment.from_dict(facts["alignment"]) == model.alignment and facts["pixels"] == "0-255"
    assert "64x64" in said and "16x16" in said and [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_torch_export_gives_the_same_at_another_batch_size(tmp_path):
    model, extra = detector(stem="conv"), {"ict_deepfake.json": ""}
    export_detector(model, tmp_path / "model.pt2", "pt2")
    with (tmp_path / "model.pt2").open("rb") as stream:
        check(torch.export.load(stream, extra_files=extra).module()(fed()), model)
    assert json.loads(extra["ict_deepfake.json"])["model"]["stem"] == "conv"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]


def test_onnx_is_one_file_and_gives_the_same_at_another_batch_size(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    model = detector()
    export_detector(model, tmp_path / "model.onnx", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    check(ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"pictures": fed().numpy()}), model)
    facts = json.loads(onnx.load(tmp_path / "model.onnx").metadata_props[0].value)
    assert facts["outputs"] == ["inner", "outer", "distance"]


def test_files_of_our_own_and_of_the_published_layout_are_read_again(tmp_path):
    model = detector()
    for to in ("pretrained", "published"):
        export_detector(model, tmp_path / to, to)
        again = load(tmp_path / to)
        assert torch.equal(again.embed(CROPS).inner, model.embed(CROPS).inner)
    assert load(tmp_path / "pretrained").alignment == model.alignment != load(tmp_path / "published").alignment
    with pytest.raises(UserError, match="no convolutional stem"):
        export_detector(detector(stem="conv"), tmp_path / "other.pth", "published")
    assert not (tmp_path / "other.pth").exists()


def test_what_differs_when_read_again_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(deployment, "_TOLERANCE", -1.0)
    with pytest.raises(UserError, match="inner differs by 0 when read again: nothing is kept"):
        export_detector(detector(), tmp_path / "model.pt", "torchscript")
    monkeypatch.setattr(deployment, "load", lambda *_, **__: Detector(ICT(**SMALL)))
    with pytest.raises(UserError, match="differs when read again"):
        export_detector(detector(), tmp_path / "model.pth", "published")
    assert not list(tmp_path.iterdir())
