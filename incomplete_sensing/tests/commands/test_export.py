"""export as it is typed."""

import pytest
import torch

from incomplete_sensing import pretrained
from incomplete_sensing.models import UNet


@pytest.mark.parametrize("form", ["pretrained", "published", "torchscript", "pt2", "onnx"])
def test_exports_give_the_same_output(trained, tmp_path, form, run):
    if form == "onnx":
        pytest.importorskip("onnxscript")
    source = trained
    if form == "published":
        network = UNet(1, 1, base_channels=2)
        torch.save({"state_dict": network.state_dict()}, tmp_path / "net.pth.tar")
        assert run("import_checkpoint", tmp_path / "net.pth.tar", "--out", tmp_path / "net") == 0
        source = tmp_path / "net"
    out = tmp_path / f"exported.{form}"
    assert run("export", "--ckpt", source, "--out", out, "--to", form) == 0
    x = torch.rand(1, 1, 8, 8)
    original = pretrained.load(source)
    if form == "pretrained":
        again = pretrained.load(out)
        y = torch.rand(2, 24)
        assert torch.equal(again(y, 3), original(y, 3))
    elif form == "published":
        state = torch.load(out, weights_only=True)["state_dict"]
        assert all(torch.equal(state[name], value) for name, value in original.network.state_dict().items())
    elif form == "torchscript":
        assert torch.allclose(torch.jit.load(str(out))(x), original.network(x), atol=1e-6)
    elif form == "pt2":
        assert torch.allclose(torch.export.load(str(out)).module()(x), original.network(x), atol=1e-6)
    else:
        assert out.stat().st_size > 1000  # compared by the command itself


def test_the_bundled_model_is_exported_where_it_is_not_in_the_way(tmp_path, monkeypatch, run, fails):
    monkeypatch.chdir(tmp_path)
    assert run("export") == 0
    assert {path.name for path in (tmp_path / "exported").iterdir()} >= {"config.json", "model.safetensors"}
    fails("exported exists: replace it with --overwrite", "export")
    assert run("export", "--overwrite") == 0
