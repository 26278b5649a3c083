"""``import_checkpoint`` and ``export``: what goes out comes back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from si_adv import build_victim, load_victim
from si_adv.commands import export, import_checkpoint
from si_adv.victim import Victim

pytestmark = pytest.mark.usefixtures("scratch")


@pytest.fixture
def trained(scratch):
    """A folder with the bundled victim, made for clouds of 96 points."""
    victim = Victim("pointnet_small", 10, num_points=96)
    victim.load_state_dict(load_victim().state_dict())
    victim.save_pretrained("trained")


def test_what_is_exported_comes_back_with_the_same_outputs():
    victim, clouds = load_victim(), torch.rand(1, 3, 1024)
    with torch.no_grad():
        expected = victim(clouds)
        assert export.main(["--to", "pretrained", "--out", "folder"]) == 0
        torch.testing.assert_close(load_victim("folder")(clouds), expected)
        assert export.main(["--to", "pt2", "--out", "a.pt2"]) == 0
        torch.testing.assert_close(torch.export.load("a.pt2").module()(clouds), expected)


def test_onnx_computes_the_same_outputs(trained):
    reference = pytest.importorskip("onnx.reference", reason="onnx is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert export.main(["--to", "onnx", "--ckpt", "trained", "--out", "a.onnx"]) == 0
    clouds = torch.rand(1, 3, 96)
    (scores,) = reference.ReferenceEvaluator("a.onnx").run(None, {"clouds": clouds.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(scores, load_victim("trained")(clouds).numpy(), atol=1e-5)


def test_a_published_checkpoint_is_imported_and_exported_back():
    model = build_victim("dgcnn", 3).eval()
    torch.save({"model_state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, "best.pth")
    Path("names.txt").write_text("a\nb\nc\n")
    assert import_checkpoint.main(["best.pth", "--out", "ours", "--class_names", "names.txt"]) == 0
    assert load_victim("ours").class_names == ["a", "b", "c"]
    assert export.main(["--to", "published", "--ckpt", "ours", "--out", "again.pth"]) == 0
    again = torch.load("again.pth", weights_only=True)["model_state_dict"]
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())


def test_what_exists_is_replaced_only_on_request(capsys):
    torch.save(build_victim("pointnet", 3).state_dict(), "best.pth")
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    for command in (
        lambda *more: import_checkpoint.main(["best.pth", "--out", "out", *more]),
        lambda *more: export.main(["--out", "out", *more]),
    ):
        assert command() == 2
        assert "out exists: replace it with --overwrite" in capsys.readouterr().err
        assert command("--overwrite") == 0
    assert Path("out/mine.txt").is_file() and load_victim("out").num_classes == 10
    assert export.main(["--to", "published", "--ckpt", "best.pth"]) == 0
    assert Path("runs/export/version_0/victim.pth").is_file()
