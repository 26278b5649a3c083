"""``load`` takes every kind of source, and gives back the model that is in it; its predictor knows classes and pictures."""

import pytest
import torch
from models_on_disk import mosaic_predictor, released, small_detector, swin_classifier

from rmoe import pretrained
from rmoe.building import made_backbone
from rmoe.conversion import outputs
from rmoe.moe import convert, describe, moe_layers
from rmoe.predictors import ImageClassifier, ImageSegmenter, ObjectDetector
from shared_utils import UserError

KINDS = {
    "swin": ("classification", "swin_t"),
    "timm": ("classification", "swin_t"),
    "openmmlab": ("classification", "swin_t"),
    "cvt": ("classification", "cvt_13"),
    "upernet": ("segmentation", "swin_t"),
    "mask_rcnn": ("detection", "swin_t"),
    "cascade_mask_rcnn": ("detection", "swin_t"),
    "backbone": ("backbone", "swin_t"),
    "swin_moe": ("classification", "swin_moe"),
}


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_released_file_is_recognised_and_goes_through_a_folder_unchanged(kind, tmp_path):
    path, model = released(kind, tmp_path / "x.pth")
    given, report = pretrained.load_with_report(path, None if kind != "swin_moe" else 64)
    assert (given.task, given.description.architecture) == KINDS[kind] and report.matched
    assert not given.model.training
    assert_same(given.model.state_dict(), model.state_dict())
    given.save_pretrained(tmp_path / "folder")
    again = pretrained.load(tmp_path / "folder")
    assert_same(again.model.state_dict(), model.state_dict())
    assert again.description.network.keys() == given.description.network.keys()
    if kind == "upernet":
        assert again.class_names == list("abcdef")


@pytest.mark.parametrize("form", ["folder", "file", "safetensors", "checkpoint", "run"])
def test_a_model_of_ours_comes_back_with_its_experts(form, tmp_path):
    given = mosaic_predictor()
    source = tmp_path / "run"
    if form in ("folder", "safetensors"):
        given.save_pretrained(source)
        source = source if form == "folder" else source / "model.safetensors"
    elif form == "file":
        given.save(source := tmp_path / "x.pth")
    else:
        # As Lightning writes it: the model is an attribute of the module.
        state = {f"model.{name}": value for name, value in given.model.state_dict().items()}
        path = source / "version_0" / "checkpoints" / "last.ckpt"
        path.parent.mkdir(parents=True)
        torch.save({"state_dict": state, **given.description.plain()}, path)
        source = source if form == "run" else path
    again = pretrained.load(source)
    assert_same(again.model.state_dict(), given.model.state_dict())
    assert describe(again.model) == describe(given.model) and again.description.mosaic == {"seed": 3}
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(again.model(x), given.model(x), rtol=0, atol=0)


def test_without_a_source_it_is_the_bundled_model_or_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "BUNDLED", tmp_path / "absent")
    with pytest.raises(UserError, match="the bundled model .* is missing"):
        pretrained.load()
    mosaic_predictor().save_pretrained(tmp_path / "absent")
    assert pretrained.load().has_experts


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"network": {"task": "singing"}, "state_dict": {}}, "describes no model"),
        ({"state_dict": {"layers.2.blocks.1.mlp.core.fc1.weight": torch.ones(1)}}, "no description of them"),
        ({"a": torch.ones(1)}, "no known layout"),
    ],
)
def test_other_content_is_refused_with_the_file_named(content, words, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=words) as error:
        pretrained.load(tmp_path / "x.pth")
    assert "x.pth" in str(error.value)


def test_a_predictor_answers_in_the_pixels_of_the_picture(tmp_path):
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    segmenter = mosaic_predictor()
    assert isinstance(segmenter, ImageSegmenter) and segmenter(image).shape == (50, 70)
    (experts,) = segmenter.expert_maps(image).values()
    assert experts.shape == (50, 70) and int(experts.max()) < 4
    given = pretrained.load(released("mask_rcnn", tmp_path / "m.pth")[0])
    assert isinstance(given, ObjectDetector) and given.class_names == ["a", "b", "c"]
    given.model.transform.min_size, given.model.transform.max_size = (64,), 96
    found = given(image)
    assert found["masks"].shape[1:] == (50, 70)
    convert(given.model.backbone, "stage4", experts=3)
    assert {each.shape for each in given.expert_maps(image).values()} == {(50, 70)}
    given = pretrained.load(released("swin", tmp_path / "s.pth")[0])
    assert isinstance(given, ImageClassifier)
    (shares,) = given(image)
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
    with pytest.raises(UserError, match="no experts"):
        given.expert_maps(image)


def test_preparing_an_image_is_what_training_prepared():
    """A picture of the mosaic is 128 + 40 x value: the model sees the value again."""
    given, values = mosaic_predictor(), torch.randn(3, 32, 32)
    with torch.no_grad():
        wanted = given.model(values[None]).argmax(1)[0]
    assert torch.equal(given(128 + 40 * values), wanted)


@pytest.mark.parametrize("kind", ["swin", "upernet", "mask_rcnn"])
def test_a_converted_model_starts_a_dense_backbone_with_its_mixtures(kind, tmp_path):
    given = pretrained.load(released(kind, tmp_path / "x.pth")[0])
    convert(getattr(given.model, "backbone", given.model), "last2", experts=3)
    given.with_model(given.model).save_pretrained(tmp_path / "converted")
    options = given.description.network["backbone"]
    options = {name: value for name, value in options.items() if name != "image_size"}
    net = pretrained.started_backbone(options, tmp_path / "converted", None)
    inside = getattr(given.model, "backbone", given.model).state_dict()
    shared = {name: value for name, value in net.state_dict().items() if not name.startswith("norm")}
    assert len(list(moe_layers(net))) == 4
    assert all(torch.equal(value, inside[name]) for name, value in shared.items())


def test_a_backbone_of_another_architecture_does_not_start(tmp_path):
    mosaic_predictor().save_pretrained(tmp_path / "x")
    with pytest.raises(UserError, match="experts in blocks.1.mlp, which SwinBackbone does not have"):
        pretrained.start_backbone(made_backbone({"name": "swin_t"}), tmp_path / "x")
    mosaic_predictor(0).save_pretrained(tmp_path / "y")
    with pytest.raises(UserError, match="does not fit MosaicNet"):
        pretrained.start_backbone(made_backbone({"name": "mosaic_net", "dim": 16}), tmp_path / "y")


def test_outputs_of_a_detector_are_its_pyramid():
    model = small_detector().eval()
    given = pretrained.predictor(model, pretrained.Description({"task": "detection", "backbone": {"name": "swin_t"}}))
    assert len(outputs(given, torch.randn(1, 3, 64, 64))) == 5


def test_a_head_of_several_is_named_by_the_last():
    network = {"task": "classification", "backbone": {"name": "mosaic_net"}, "num_classes": [8, 3]}
    assert pretrained.Description(network).class_names == ["class 0", "class 1", "class 2"]
    assert swin_classifier().num_classes == 5
