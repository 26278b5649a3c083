"""Networks in the formats of other programs."""

import numpy as np
import pytest
import torch

from mot_occlusion.commands import export as export_command
from mot_occlusion.exchange import write_onnx
from mot_occlusion.models.deform import DCN
from mot_occlusion.pretrained import load_model


def _run_onnx(path, image):
    onnx_reference = pytest.importorskip("onnx.reference", reason="needs the extra onnx")
    session = onnx_reference.ReferenceEvaluator(str(path))
    (name,) = session.input_names
    return dict(zip(session.output_names, session.run(None, {name: image.numpy()}), strict=True))


def test_onnx_gives_the_maps_of_torch(tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    arguments = ["--to", "onnx", "--out", str(tmp_path / "m.onnx"), "--input_size", "[32, 64]"]
    assert export_command.main(arguments) == 0
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        ours = load_model()(image)
    found = _run_onnx(tmp_path / "m.onnx", image)
    assert found.keys() == ours.keys()
    for name, value in found.items():
        assert np.abs(value - ours[name].numpy()).max() < 1e-4 * max(1.0, float(ours[name].abs().max()))


def test_onnx_of_a_deformable_layer_needs_no_operator_of_its_own(tmp_path):
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    torch.manual_seed(0)
    layer = DCN(4, 5).eval()
    torch.nn.init.normal_(layer.conv_offset_mask.weight, std=0.3)
    x = torch.randn(1, 4, 6, 7)
    write_onnx(layer, x, tmp_path / "m.onnx", "x", ["y"])
    assert np.abs(_run_onnx(tmp_path / "m.onnx", x)["y"] - layer(x).detach().numpy()).max() < 1e-5


def test_a_torch_program_gives_the_maps_of_torch(scratch, capsys):
    assert export_command.main(["--to", "pt2", "--input-size", "[32, 64]"]) == 0
    assert "wrote runs/export/version_0/model.pt2" in capsys.readouterr().out
    image = torch.rand(1, 3, 32, 64)
    found = torch.export.load("runs/export/version_0/model.pt2").module()(image)
    with torch.no_grad():
        ours = load_model()(image)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, ours.values(), strict=True))


def test_an_export_that_exists_is_replaced_only_when_asked_for(scratch, capsys):
    assert export_command.main(["--out", "a"]) == 0
    assert export_command.main(["--out", "a"]) == 2
    assert "a exists: replace it with --overwrite" in capsys.readouterr().err
    assert export_command.main(["--out", "a", "--overwrite"]) == 0
