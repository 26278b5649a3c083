"""Released segmentation and detection files: full-size names, class order, changed classes, both directions."""

import json
from pathlib import Path

import pytest
import small_models
import torch

from rmoe.models.detection.cascade import CascadeRoIHeads
from rmoe.moe import convert
from rmoe.published.detection import build_detector, export_detector, import_detector
from rmoe.published.segmentation import build_segmenter, export_segmenter, import_segmenter
from rmoe.published.whole import class_names
from shared_utils import UserError

GOLDEN = Path(__file__).parent / "golden"


def filled(shapes):
    generator = torch.Generator().manual_seed(0)
    return {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def golden_shapes(case, prefix):
    shapes = json.loads((GOLDEN / f"{case}.json").read_text())["shapes"]
    return {prefix + name: shape for name, shape in shapes.items()}


def backbone_shapes():
    """The released Swin-T's, with the buffers that the files hold."""
    shapes = golden_shapes("swin_t_backbone_odd", "backbone.")
    for name in list(shapes):
        if name.endswith("relative_position_bias_table"):
            shapes[name.replace("bias_table", "index")] = [49, 49]
    return shapes


def linear(name, rows, columns):
    return {f"{name}.weight": [rows, columns], f"{name}.bias": [rows]}


def conv(name, rows, columns, side, bias=True):
    return {f"{name}.weight": [rows, columns, side, side], **({f"{name}.bias": [rows]} if bias else {})}


def detection_shapes(cascade, classes=80):
    shapes = backbone_shapes() | golden_shapes("fpn_neck", "neck.")
    shapes |= conv("rpn_head.rpn_conv", 256, 256, 3)
    shapes |= conv("rpn_head.rpn_cls", 3, 256, 1) | conv("rpn_head.rpn_reg", 12, 256, 1)
    for stage in ("0.", "1.", "2.") if cascade else ("",):
        box, mask = f"roi_head.bbox_head.{stage}", f"roi_head.mask_head.{stage}"
        shapes |= linear(box + "fc_cls", classes + 1, 1024) | linear(box + "fc_reg", 4 * classes, 1024)
        shapes |= linear(box + "shared_fcs.0", 1024, 256 * 49)
        if cascade:
            for n in range(4):
                shapes |= conv(f"{box}shared_convs.{n}.conv", 256, 256, 3, bias=False)
                kinds = ("weight", "bias", "running_mean", "running_var")
                shapes |= {f"{box}shared_convs.{n}.bn.{kind}": [256] for kind in kinds}
                shapes |= {f"{box}shared_convs.{n}.bn.num_batches_tracked": []}
        else:
            shapes |= linear(box + "shared_fcs.1", 1024, 1024)
        for n in range(4):
            shapes |= conv(f"{mask}convs.{n}.conv", 256, 256, 3)
        shapes |= conv(mask + "upsample", 256, 256, 2) | conv(mask + "conv_logits", classes, 256, 1)
    return shapes


def test_the_released_upernet_imports_with_nothing_missing_or_unexpected(tmp_path):
    shapes = backbone_shapes() | golden_shapes("uper_head", "decode_head.")
    shapes |= golden_shapes("fcn_aux_head", "auxiliary_head.")
    state = filled(shapes)
    path = tmp_path / "upernet_swin_tiny_patch4_window7_512x512.pth"
    torch.save({"meta": {"CLASSES": ("wall", "building")}, "state_dict": state}, path)
    model, report = build_segmenter(path)
    assert not report.missing and not report.dropped and not report.reinitialised and not report.unexpected
    learnt = [name for name in shapes if not name.endswith("index")]
    assert sorted(report.matched) == sorted(learnt)
    assert all(torch.equal(model.state_dict()[name], state[name]) for name in learnt)
    assert class_names(path) == ["wall", "building"]


@pytest.mark.parametrize("cascade", [False, True])
def test_the_released_detectors_import_with_nothing_missing_or_unexpected(cascade):
    shapes = detection_shapes(cascade)
    model, report = build_detector({"state_dict": filled(shapes)})
    assert isinstance(model.roi_heads, CascadeRoIHeads) == cascade and model.num_classes == 80
    assert not report.missing and not report.dropped and not report.reinitialised and not report.unexpected
    counted = [name for name in shapes if not name.endswith(("index", "num_batches_tracked"))]
    assert len(report.matched) == len(counted)
    parameters = {name for name, _ in model.named_parameters()}
    assert parameters <= set(report.matched)


def released(make):
    """A small model's file in the released layout, and the model."""
    model = make().eval()
    export = export_detector if make is not small_models.segmenter else export_segmenter
    return export(model), model


@pytest.mark.parametrize("make", [small_models.detector, small_models.cascade])
def test_a_classifier_whose_class_3_is_largest_detects_label_4(make):
    content, _ = released(lambda: make(num_classes=6))
    for name, value in content["state_dict"].items():
        if ".fc_cls." in name:
            value.zero_()
            if name.endswith("bias"):
                assert len(value) == 7
                value[3], value[6] = 9.0, 3.0  # published: background last
        if ".fc_reg." in name:
            value.zero_()
            if name.endswith("bias"):
                value.view(6, 4)[3] = torch.tensor([0.0, 0.0, 0.5, -0.5])
        if ".conv_logits." in name:
            value.zero_()
            if name.endswith("bias"):
                value.fill_(-5.0)
                value[3] = 5.0
    model = make(num_classes=6, nms_threshold=1.0)
    import_detector(model, content)
    found, _ = model.eval().roi_heads(
        {str(i): torch.randn(1, 8, 64 // s, 64 // s) for i, s in enumerate((4, 8, 16, 32))},
        [torch.tensor([[20.0, 20, 40, 40]])],
        [(64, 64)],
    )
    (found,) = found
    # ours counts from 1: the class at index 3 of the file is label 4
    assert found["labels"].tolist() == [4] and found["scores"][0] > 0.99
    assert found["masks"].min() > 0.99
    width, height = found["boxes"][0, 2:] - found["boxes"][0, :2]
    assert width > 20 > height  # moved by its own class's deltas


@pytest.mark.parametrize("make", [small_models.detector, small_models.cascade])
@pytest.mark.parametrize("layout", ["swin", "openmmlab"])
def test_detectors_go_out_and_in_exactly(make, layout):
    model = make()
    content = export_detector(model, layout, ["a", "b", "c"])
    assert class_names(content) == ["a", "b", "c"]
    other = make()
    import_detector(other, content)
    ours, theirs = model.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    again = export_detector(other, layout)["state_dict"]
    assert all(torch.equal(again[name], value) for name, value in content["state_dict"].items())


@pytest.mark.parametrize("layout", ["swin", "openmmlab"])
def test_segmenters_go_out_and_in_exactly(layout):
    model, other = small_models.segmenter(), small_models.segmenter()
    content = export_segmenter(model, layout)
    import_segmenter(other, content)
    ours, theirs = model.state_dict(), other.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_file_makes_the_model_that_fits_it():
    content, model = released(small_models.segmenter)
    built, _ = build_segmenter(content, backbone={"drop_path_rate": 0.0})
    images = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(built.eval()(images), model(images))


def test_other_classes_start_anew_with_a_message():
    content, _ = released(small_models.segmenter)
    model = small_models.segmenter(num_classes=9)
    before = model.decode_head.conv_seg.weight.clone()
    report = import_segmenter(model, content)
    assert torch.equal(model.decode_head.conv_seg.weight, before)
    assert set(report.reinitialised) == {
        f"{head}.conv_seg.{kind}" for head in ("decode_head", "auxiliary_head") for kind in ("weight", "bias")
    }
    assert "started anew, for the number of classes differs" in str(report)


@pytest.mark.parametrize("make", [small_models.detector, small_models.cascade])
def test_other_classes_of_a_detector_start_anew_and_the_rest_is_kept(make):
    content, trained = released(make)
    model = make(num_classes=9)
    report = import_detector(model, content)
    stages = 3 if make is small_models.cascade else 1
    assert len(report.reinitialised) == 6 * stages
    assert torch.equal(model.rpn.head.cls_logits.weight, trained.rpn.head.cls_logits.weight)


def test_a_model_without_auxiliary_head_leaves_the_files_out():
    content, _ = released(small_models.segmenter)
    report = import_segmenter(small_models.segmenter(auxiliary=False), content)
    assert report.dropped and all(name.startswith("auxiliary_head.") for name in report.dropped)


def test_files_of_another_kind_are_named():
    segmentation, _ = released(small_models.segmenter)
    detection, _ = released(small_models.detector)
    with pytest.raises(UserError, match="no released detection model"):
        import_detector(small_models.detector(), segmentation, source="a.pth")
    with pytest.raises(UserError, match=r"a\.pth is no released segmentation model"):
        import_segmenter(small_models.segmenter(), detection, source="a.pth")
    with pytest.raises(UserError, match="is a Mask R-CNN, the model a Cascade Mask R-CNN"):
        import_detector(small_models.cascade(), detection)


def test_class_agnostic_deltas_are_refused_and_the_model_is_unchanged():
    content, _ = released(small_models.detector)
    state = content["state_dict"]
    state["roi_head.bbox_head.fc_reg.weight"] = state["roi_head.bbox_head.fc_reg.weight"][:4]
    state["roi_head.bbox_head.fc_reg.bias"] = state["roi_head.bbox_head.fc_reg.bias"][:4]
    model = small_models.detector()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match="deltas of every class"):
        import_detector(model, content)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_model_with_experts_has_no_released_layout():
    model = small_models.segmenter()
    convert(model.backbone, experts=2)
    with pytest.raises(UserError, match="make the model dense first"):
        export_segmenter(model)
