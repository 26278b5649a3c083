import numpy as np
import pytest
import torch
from published_files import FAIRMOT, published_file

from mot_occlusion.commands import export as export_command
from mot_occlusion.commands import import_checkpoint as import_command
from mot_occlusion.models import HEADS, build_network
from mot_occlusion.pretrained import load_model
from mot_occlusion.published import export_published, import_network
from shared_utils import UserError
from shared_utils.checkpoint import load_tensors


def test_outtrack_file_round_trip_is_equal_to_the_bit(tmp_path):
    losses = {"s_det": torch.tensor([-1.7]), "s_id": torch.tensor([-0.9])}
    heads = {**FAIRMOT, "occlusion": 1, "occlusion_offset": 2}
    original, path = published_file(tmp_path, heads, loss_state_dict=losses, optimizer={"lr": 1e-4})
    assert import_command.main([str(path), "--out", str(tmp_path / "ours")]) == 0
    arguments = ["--ckpt", str(tmp_path / "ours"), "--to", "published", "--out", str(tmp_path / "back.pth")]
    assert export_command.main(arguments) == 0
    back = load_tensors(tmp_path / "back.pth")
    assert back["state_dict"].keys() == original.state_dict().keys()
    assert all(torch.equal(back["state_dict"][name], value) for name, value in original.state_dict().items())
    assert back["loss_state_dict"]["s_det"].item() == pytest.approx(-1.7)


def test_prefix_and_imagenet_classifier_and_absent_counters_are_nothing_to_complain_of(tmp_path, capsys):
    def change(state):
        state = {f"module.{n}": t for n, t in state.items() if not n.endswith("num_batches_tracked")}
        return {
            **state,
            "module.base.fc.weight": torch.zeros(1000, 512, 1, 1),
            "module.base.fc.bias": torch.zeros(1000),
        }

    original, path = published_file(tmp_path, {**FAIRMOT, "occlusion": 1, "occlusion_offset": 2}, change=change)
    network, report = import_network(path)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), original.parameters(), strict=True))
    assert list(report.ignored) == ["base.fc"] and not report.initialised


def test_fairmot_file_gets_occlusion_heads_that_are_reported_and_not_used(tmp_path, capsys):
    from mot_occlusion.detector import Detector

    _, path = published_file(tmp_path, FAIRMOT)
    assert import_command.main([str(path), "--out", str(tmp_path / "ours")]) == 0
    out = capsys.readouterr().out
    assert "FairMOT" in out and "initialised occlusion: 1 channels" in out and "initialised occlusion_offset" in out
    found = Detector(load_model(tmp_path / "ours"), "cpu", input_size=(64, 96))(np.zeros((64, 96, 3), np.uint8))
    assert found.centres is None and found.embeddings.shape[1] == 12


def test_older_fairmot_sizes_follow_from_the_file(tmp_path):
    _, path = published_file(tmp_path, {"hm": 1, "wh": 2, "id": 20, "reg": 2})
    network, _ = import_network(path)
    assert network.heads["wh"] == 2 and network.heads["id"] == 20


def test_centernet_file_gives_its_trunk_alone(tmp_path):
    original, path = published_file(tmp_path, {"hm": 80, "wh": 2, "reg": 2})
    network, report = import_network(path)
    assert torch.equal(network.base.level5.tree1.conv1.weight, original.base.level5.tree1.conv1.weight)
    assert (
        network.heads == HEADS and set(report.initialised) == set(HEADS) and set(report.ignored) == {"hm", "wh", "reg"}
    )


def test_centertrack_file_loses_its_second_input_and_its_heads(tmp_path):
    def change(state):
        extra = {
            "base.pre_img_layer.0.weight": torch.zeros(16, 3, 7, 7),
            "base.pre_hm_layer.0.weight": torch.zeros(16, 1, 7, 7),
        }
        return {
            **state,
            **extra,
            "tracking.0.weight": torch.zeros(16, 64, 3, 3),
            "tracking.2.weight": torch.zeros(2, 16, 1, 1),
        }

    _, path = published_file(tmp_path, {"hm": 1, "reg": 2, "wh": 2}, change=change)
    _, report = import_network(path)
    assert {"base.pre_img_layer", "base.pre_hm_layer", "tracking"} <= set(report.ignored)


@pytest.mark.parametrize(
    ("entries", "backbone"),
    [
        (["stage2.0.branches.0.0.conv1.weight", "hm.0.weight"], "hrnet_18"),
        (["layer1.0.conv1.weight", "deconv_layers.0.weight"], "resfpndcn_34"),
        (["backbone.0.conv.conv.weight"], "yolov5s"),
        (["base.level5.tree1.conv1.weight", "dla_up.ida_0.proj_1.0.weight"], "without deformable"),
        (["features.weight"], "not a DLA-34"),
    ],
)
def test_another_backbone_is_refused_by_name(tmp_path, entries, backbone):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {name: torch.zeros(2, 2) for name in entries}}, path)
    with pytest.raises(UserError, match=f"other.pth.*{backbone}"):
        import_network(path)


def test_trunk_of_another_shape_and_missing_entries_are_named(tmp_path):
    def change(state):
        state["base.level2.root.conv.weight"] = torch.zeros(64, 100, 1, 1)
        del state["ida_up.up_1.weight"]
        return state

    _, path = published_file(tmp_path, FAIRMOT, change=change)
    with pytest.raises(UserError, match=r"model.pth.*ida_up.up_1.weight.*level2.root.conv.weight \(64, 100, 1, 1\)"):
        import_network(path)


def test_values_that_are_not_finite_are_named(tmp_path):
    def change(state):
        state["hm.2.bias"] = torch.tensor([float("nan")])
        return state

    with pytest.raises(UserError, match=r"hm.2.bias.*not finite"):
        import_network(published_file(tmp_path, FAIRMOT, change=change)[1])


def test_what_is_no_checkpoint_ends_in_one_line_and_status_two(tmp_path, capsys):
    page = tmp_path / "page.pth"
    page.write_text("<html>quota exceeded</html>")
    assert import_command.main([str(page), "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert "page.pth" in error and "web page" in error and error.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_code_in_a_file_is_never_run(tmp_path):
    class Bad:
        def __reduce__(self):
            return (exec, ("raise SystemError('ran')",))

    path = tmp_path / "bad.pth"
    torch.save({"state_dict": Bad()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match="only running code of the file could make"):
        import_network(path)


def test_small_network_has_no_published_layout():
    with pytest.raises(UserError, match="no SmallNetwork"):
        export_published(build_network("small", HEADS))
