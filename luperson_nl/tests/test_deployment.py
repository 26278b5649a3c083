"""What others load gives the features of the embedder, and says what its input must be."""

import json

import numpy as np
import pytest
import torch

from luperson_nl import deployment
from luperson_nl.deployment import export_embedder, export_training
from luperson_nl.pnl import PNL
from luperson_nl.pretrained import Embedder, load
from luperson_nl.published import import_pretraining
from luperson_nl.published.reading import read
from shared_utils import UserError, checkpoint


def embedder(kind="trunk", trunk="resnet_mini", **options):
    return Embedder(kind, trunk, size=(32, 16), **options)


IMAGE = np.random.default_rng(0).integers(0, 256, (50, 25, 3), dtype=np.uint8)


def fed(model, pixels):
    """The image as the exported model wants it."""
    view = torch.from_numpy(np.asarray(model.preprocess(IMAGE)))[None]
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (model.mean, model.std))
    picture = view * std + mean
    imagenet = [torch.tensor(values).reshape(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    return {"0-1": picture, "0-255": 255 * picture, "own": view, "imagenet": (picture - imagenet[0]) / imagenet[1]}[
        pixels
    ]


@pytest.mark.parametrize(
    ("pixels", "said"), [("0-1", "0..1"), ("0-255", "0..255"), ("imagenet", "ImageNet"), ("own", "not inside")]
)
def test_torchscript_gives_the_embedders_features(tmp_path, pixels, said):
    model = embedder("bot", num_classes=3)
    about = export_embedder(model, tmp_path / "model.pt", "torchscript", pixels)
    extra = {"luperson_nl.json": ""}
    again = torch.jit.load(str(tmp_path / "model.pt"), _extra_files=extra)
    np.testing.assert_allclose(again(fed(model, pixels)).numpy(), model.embed([IMAGE]), atol=1e-4)
    assert said in about and "32x16" in about and json.loads(extra["luperson_nl.json"])["pixels"] == pixels


def test_onnx_gives_the_embedders_features_for_any_batch(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    model = embedder()
    export_embedder(model, tmp_path / "model.onnx", "onnx", "0-255")
    images = fed(model, "0-255").numpy().repeat(3, axis=0)
    features = ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"images": images})[0]
    np.testing.assert_allclose(features, model.embed([IMAGE] * 3), atol=1e-4)
    about = json.loads(onnx.load(tmp_path / "model.onnx").metadata_props[0].value)
    assert about["pixels"] == "0-255" and about["statistics_inside"]


@pytest.mark.parametrize(
    ("to", "kind", "trunk"),
    [
        ("pretrained", "bot", "resnet_mini"),
        ("torchvision", "trunk", "resnet_mini"),
        ("torchvision", "bot", "resnet_mini"),
        ("fork", "bot", "resnet_mini"),
        ("fastreid", "bot", "resnet_mini"),
        ("timm", "trunk", "timm:resnet10t"),
        ("reid", "trunk", "timm:resnet10t"),
    ],
)
def test_files_for_others_are_loaded_again(tmp_path, to, kind, trunk):
    options = {"num_classes": 3} if kind == "bot" else {}
    model, out = embedder(kind, trunk, **options), tmp_path / "out"
    about = export_embedder(model, out, to)
    assert "RGB" in about
    view = {} if to in ("pretrained", "reid") else {"size": (32, 16), "mean": model.mean, "std": model.std}
    again = load(out, **view, **({"trunk": trunk} if to == "timm" else {}))
    if again.kind == kind:
        np.testing.assert_allclose(again.embed([IMAGE]), model.embed([IMAGE]), atol=1e-5)


@pytest.mark.parametrize(
    ("to", "kind", "trunk", "words"),
    [
        ("fork", "trunk", "resnet_mini", "is for bot, agw and mgn"),
        ("torchvision", "mgn", "resnet_mini", "three copies"),
        ("torchvision", "trunk", "timm:resnet10t", "use --to timm"),
        ("fork", "bot", "timm:resnet10t", "no trunk of timm"),
        ("reid", "bot", "resnet_mini", "trunks that timm has"),
    ],
)
def test_a_form_without_a_place_is_refused_and_leaves_nothing(tmp_path, to, kind, trunk, words):
    with pytest.raises(UserError, match=words):
        export_embedder(embedder(kind, trunk), tmp_path / "out", to)
    assert not list(tmp_path.iterdir())


def test_what_differs_when_read_again_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(
        deployment, "export_published", lambda network, *_: {n: v + 1 for n, v in network.state_dict().items()}
    )
    with pytest.raises(UserError, match="differs when read again"):
        export_embedder(embedder(), tmp_path / "out.pth", "torchvision")
    assert not list(tmp_path.iterdir())


def test_the_whole_pretraining_goes_to_the_published_code(tmp_path):
    model = PNL("resnet_mini", 3, dim=4, queue_size=8, hidden=8)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    facts = {"embedder": embedder().describe()}
    checkpoint.save({"state_dict": state, "hyper_parameters": facts, "epoch": 4}, tmp_path / "last.ckpt")
    assert "epoch 5" in export_training(tmp_path / "last.ckpt", tmp_path / "ckpt_0004.pth", "pnl")
    content = read(tmp_path / "ckpt_0004.pth")
    assert (content["epoch"], content["arch"]) == (5, "resnet_mini")
    assert torch.equal(import_pretraining(content)[0].objective.queue.keys, model.objective.queue.keys)
    with pytest.raises(UserError, match="was trained by pnl"):
        export_training(tmp_path / "last.ckpt", tmp_path / "moco.pth", "moco")
    with pytest.raises(UserError, match="needs --ckpt"):
        export_training(None, tmp_path / "pnl.pth", "pnl")
