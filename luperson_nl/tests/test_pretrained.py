"""The embedder: what happens to an image before, boxes of a frame, the warning, every source of ``load``."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from luperson_nl.models.reid import build_reid
from luperson_nl.pnl import PNL
from luperson_nl.pretrained import Embedder, load, test_view, trunk_weights
from luperson_nl.published import export_pretraining, export_published
from shared_utils import UserError, checkpoint


def pictures(count, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (40 + i % 5, 20, 3), dtype=np.uint8) for i in range(count)]


def small(kind="trunk", **options):
    return Embedder(kind, "resnet_mini", size=(32, 16), **options)


def test_vectors_are_unit_length_in_order_and_do_not_depend_on_the_batch():
    embedder, images = small(), pictures(5)
    vectors = embedder.embed(images, batch_size=2)
    assert vectors.dtype == np.float32 and vectors.shape == (5, 96)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(embedder.embed(images[::-1])[::-1], vectors, atol=1e-5)
    assert embedder.embed([]).shape == (0, 96)


def test_a_view_is_pils_bicubic_then_the_statistics():
    image = pictures(1)[0]
    expected = np.asarray(Image.fromarray(image).resize((16, 32), Image.Resampling.BICUBIC)) / 255
    view = test_view(image, (32, 16), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    np.testing.assert_allclose(
        view.numpy().transpose(1, 2, 0), (expected - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7], atol=1e-5
    )


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8), np.uint8)])
def test_what_is_no_rgb_image_is_refused(image):
    with pytest.raises(UserError, match="uint8 RGB"):
        small().embed([image])


def test_boxes_are_cut_at_the_frame():
    embedder, frame = small(), pictures(1)[0]
    height, width = frame.shape[:2]
    boxes = np.array([[2, 3, 12, 30], [-5, -5, 8, 20], [width + 5, 0, width + 9, 9], [0.5, 0.5, 0.5, 0.5]])
    vectors = embedder.embed_boxes(frame, boxes)
    crops = [frame[3:30, 2:12], frame[:20, :8], frame[:9, width - 1 :], frame[:1, :1]]
    np.testing.assert_allclose(vectors, embedder.embed(crops), atol=1e-5)
    with pytest.raises(UserError, match="not finite"):
        embedder.embed_boxes(frame, [[0, 0, np.nan, 4]])
    assert embedder.embed_boxes(frame, np.zeros((0, 4))).shape == (0, 96) and height > 30


def test_features_that_are_all_alike_are_warned_of_once(caplog):
    embedder = small()
    with torch.no_grad():  # what an image normalised twice does: the picture hardly counts
        embedder.network.conv1.weight.mul_(1e-4)
        embedder.network.bn1.bias.fill_(1.0)
    with caplog.at_level(logging.WARNING):
        for start in range(0, 80, 20):
            embedder.embed(pictures(20, start))
    assert [record.message.startswith("64 different images") for record in caplog.records] == [True]
    caplog.clear()
    small().embed(pictures(1) * 80)  # one image is no reason
    assert not caplog.records


@pytest.mark.parametrize(("kind", "options"), [("trunk", {}), ("agw", {"num_classes": 4, "non_local": (0, 1, 0, 0)})])
def test_a_saved_embedder_comes_back(tmp_path, kind, options):
    embedder = small(kind, mean=(0.1, 0.2, 0.3), **options)
    embedder.save_pretrained(tmp_path / "model")
    for source in (tmp_path / "model", tmp_path / "model" / "model.safetensors"):
        again = load(source)
        assert {**again.describe(), **options} == {**embedder.describe(), **options}
        np.testing.assert_array_equal(again.embed(pictures(3)), embedder.embed(pictures(3)))
        assert (again.kind, again.size, again.mean) == (kind, (32, 16), (0.1, 0.2, 0.3))


def test_published_files_are_loaded_with_the_view_that_is_given(tmp_path):
    model = PNL("resnet_mini", 3, dim=4, queue_size=8, hidden=8)
    checkpoint.save(export_pretraining(model), tmp_path / "ckpt_0001.pth")
    embedder = load(tmp_path / "ckpt_0001.pth", encoder="k", size=(32, 16))
    assert embedder.size == (32, 16) and embedder.mean[0] == pytest.approx(0.3452)
    expected = Embedder("trunk", "resnet_mini", size=(32, 16))
    expected.network = model.encoder_k.eval().trunk
    np.testing.assert_allclose(embedder.embed(pictures(2)), expected.embed(pictures(2)), atol=1e-6)


@pytest.mark.parametrize("kind", ["trunk", "bot"])
def test_checkpoints_of_training_are_loaded(tmp_path, kind):
    if kind == "trunk":
        model = PNL("resnet_mini", 3, dim=4, queue_size=8, hidden=8)
        trunk, described = model.encoder_q.trunk, small().describe()
    else:
        model = build_reid("bot", "resnet_mini", 3, extra_bn=True)
        trunk, described = model.backbone, small("bot", num_classes=3, extra_bn=True).describe()
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": {"embedder": described}}
    checkpoint.save(content, tmp_path / "last.ckpt")
    embedder = load(tmp_path / "last.ckpt")
    assert embedder.kind == kind and not embedder.training
    name, weights = trunk_weights(tmp_path / "last.ckpt")
    assert name == "resnet_mini" and all(torch.equal(weights[key], value) for key, value in trunk.state_dict().items())
    checkpoint.save({**content, "state_dict": {"other.weight": torch.ones(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no entry that begins with"):
        load(tmp_path / "other.ckpt")


def test_pretrained_weights_go_to_every_copy_of_mgn():
    trunk = Embedder("trunk", "resnet_mini").network.state_dict()
    network = build_reid("mgn", "resnet_mini", 3)
    network.load_trunk(trunk)
    for branch in ("b1", "b2", "b3"):
        assert torch.equal(network.get_submodule(f"{branch}.1.0").conv1.weight, trunk["layer4.0.conv1.weight"])
    assert torch.equal(network.backbone[6].conv1.weight, trunk["layer3.0.conv1.weight"])
    with pytest.raises(UserError, match="which mgn cannot cut"):
        network(torch.zeros(2, 3, 32, 16))


def test_what_holds_no_embedder_is_named(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    checkpoint.save_safetensors({"a": torch.ones(1)}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(UserError, match=r"config\.json is not the config"):
        load(tmp_path / "model")
    small().save_pretrained(tmp_path / "good")
    with pytest.raises(UserError, match="says itself what it is"):
        load(tmp_path / "good", encoder="k")
    torch.save(export_published(build_reid("mgn", "resnet_mini", 2), "fastreid"), tmp_path / "mgn.pth")
    with pytest.raises(UserError, match="three copies"):
        trunk_weights(tmp_path / "mgn.pth")
