"""Authors' checkpoints: whatever they are wrapped in they load, and what is not one is named."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.models import build_victim
from si_adv.models.punet import PUNet
from si_adv.published import LAYOUTS, export_published, import_published, read_quantised
from si_adv.victim import Victim

GOLDEN = Path(__file__).parent / "golden"
VICTIMS = [name for name in LAYOUTS if name != "pu_net"]
TAKES_NORMALS = [name for name, layout in LAYOUTS.items() if layout.first]


def published(name, num_classes=16, **options):
    """The state dict of a victim as the published code would save it."""
    torch.manual_seed(0)
    return export_published(build_victim(name, num_classes, **options))["model_state_dict"]


@pytest.mark.parametrize("name", VICTIMS)
def test_architecture_and_classes_are_told_from_the_entries(name):
    model, report = import_published(published(name))
    assert (report.architecture, report.num_classes, report.with_normals) == (name, 16, False)
    assert type(model) is type(build_victim(name, 16)) and not model.training
    assert not report.entries.missing and not report.entries.unexpected


@pytest.mark.parametrize("name", TAKES_NORMALS)
def test_normals_are_told_from_the_first_layer(name):
    model, report = import_published(published(name, with_normals=True))
    assert report.with_normals and model.channels == 6


@pytest.mark.parametrize("name", VICTIMS)
def test_export_and_import_return_every_value(name):
    torch.manual_seed(0)
    victim = build_victim(name, 7)
    for buffer in victim.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    back, _ = import_published(export_published(victim))
    original = victim.state_dict()
    assert all((tensor == original[entry]).all() for entry, tensor in back.state_dict().items())


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("victim_*.json")), ids=lambda path: path.stem)
def test_export_has_the_published_names_and_shapes(path):
    shapes = {name: tuple(shape) for name, shape in json.loads(path.read_text())["shapes"].items()}
    state = {name: torch.full(shape, 0.01) for name, shape in shapes.items()}
    exported = export_published(import_published(state)[0])["model_state_dict"]
    counters = {name for name in exported if name.endswith("num_batches_tracked")}
    assert {name: tuple(exported[name].shape) for name in exported.keys() - counters} == shapes


def test_export_of_a_width_that_was_never_published_is_refused():
    with pytest.raises(UserError, match="PointNet has the entries of no published model"):
        export_published(build_victim("pointnet_small", 10))


def test_export_takes_a_victim_with_its_facts():
    victim = Victim("dgcnn", 3)
    state = export_published(victim)["model_state_dict"]
    assert (state["bn1.weight"] == victim.model.conv1[1].weight).all()


@pytest.mark.parametrize("wrapper", ["model_state_dict", "model_state", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes_are_taken_off(wrapper, prefix):
    state = {prefix + name: tensor for name, tensor in published("pointnet").items()}
    content = {wrapper: state, "epoch": 7, "instance_acc": 0.9} if wrapper else state
    model, _ = import_published(content)
    assert (model.fc3.weight == state[f"{prefix}fc3.weight"]).all()


def test_the_counters_of_old_norms_may_be_missing():
    state = {name: tensor for name, tensor in published("pct").items() if not name.endswith("num_batches_tracked")}
    assert not import_published(state)[1].entries.missing


@pytest.mark.parametrize(
    ("name", "alias", "entry"),
    [
        ("dgcnn", "bn2.weight", "conv2.1.weight"),
        ("pct", "pt_last.sa3.q_conv.weight", "pt_last.sa3.k_conv.weight"),
        ("paconv", "bn5.bias", "conv5.1.bias"),
    ],
)
def test_of_two_names_for_one_module_the_second_is_in_force(name, alias, entry):
    state = published(name)
    assert alias in state
    state[alias] = torch.full_like(state[alias], 9.0)
    state[entry] = torch.full_like(state[entry], 0.25)
    model, _ = import_published(state)
    assert (model.get_parameter(entry) == 0.25).all()
    assert (export_published(model)["model_state_dict"][alias] == 0.25).all()


def test_pu_net_is_told_with_its_ratio():
    model, report = import_published(PUNet(up_ratio=2).state_dict())
    assert isinstance(model, PUNet) and report.architecture == "pu_net" and model.up_ratio == 2


def test_options_reach_the_constructor():
    assert import_published(published("pointnet2_ssg"), fps_start="far")[0].sa1.fps_start == "far"


# What is refused


def test_a_wrong_architecture_is_answered_by_the_names_that_differ():
    with pytest.raises(UserError) as error:
        import_published(published("dgcnn"), architecture="pointnet")
    message = str(error.value)
    assert "as pointnet" in message and "missing: feat.stn.conv1.weight" in message and "conv1.0.weight" in message
    assert message.count("feat.") <= 10


def test_an_unknown_architecture_is_answered_by_the_closest():
    with pytest.raises(UserError, match="'pointnet2_sgg': did you mean 'pointnet2_ssg'"):
        import_published(published("pointnet"), architecture="pointnet2_sgg")


def test_an_entry_of_another_shape_is_named_with_both():
    state = published("pointnet")
    state["fc1.bias"] = torch.zeros(5)
    with pytest.raises(UserError, match=r"fc1.bias \(5,\) for \(512,\)"):
        import_published(state)


def test_entries_too_many_are_named():
    with pytest.raises(UserError, match="unexpected: bonus.weight"):
        import_published({**published("pointnet"), "bonus.weight": torch.zeros(1)})


def test_a_foreign_state_dict_is_described():
    with pytest.raises(UserError, match=r"no published model \(0.weight \(2, 3\)"):
        import_published(torch.nn.Sequential(torch.nn.Linear(3, 2)).state_dict())


def test_content_without_a_state_dict_is_described():
    with pytest.raises(UserError, match="no state dict .it holds: epoch, note"):
        import_published({"epoch": 3, "note": "no weights"})


def test_weights_that_are_not_finite_are_named():
    state = published("pointnet")
    state["fc2.bias"][3] = float("nan")
    with pytest.raises(UserError, match="fc2.bias holds values that are not finite"):
        import_published(state)


def test_files_that_are_no_checkpoint_are_told_apart(tmp_path):
    good = tmp_path / "good.pth"
    torch.save(published("pointnet"), good)
    whole = good.read_bytes()
    for content, reason in (
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (whole[: len(whole) // 2], "truncated"),
        (b"PKnonsense", "too short for a checkpoint"),
        (b"some words", "too short for a checkpoint"),
    ):
        path = tmp_path / "bad.pth"
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason) as error:
            import_published(path)
        assert "bad.pth" in str(error.value)
    with pytest.raises(UserError, match=r"gone.pth not found"):
        import_published(tmp_path / "gone.pth")


class _Bomb:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_file_never_runs(tmp_path, legacy):
    trace, path = tmp_path / "ran", tmp_path / "bomb.pth"
    torch.save({"model_state_dict": _Bomb(trace)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match="holds posix.mkdir.*never done"):
        import_published(path)
    assert not trace.exists()


def test_an_older_pickle_of_plain_tensors_loads(tmp_path):
    path = tmp_path / "old.t7"
    torch.save({"model_state_dict": published("pointnet")}, path, _use_new_zipfile_serialization=False)
    assert import_published(path)[1].architecture == "pointnet"


# Quantised weights


def quantise(state, path):
    arrays = {}
    for name, tensor in state.items():
        if tensor.dim() < 2:
            arrays[name] = tensor.numpy()
            continue
        rows = tensor.flatten(1).abs().amax(1).numpy() / 127
        arrays[f"{name}__scale"] = rows
        arrays[f"{name}__q"] = np.round(tensor.numpy() / rows.reshape(-1, *[1] * (tensor.dim() - 1))).astype(np.int8)
    np.savez(path, **arrays)
    return path


def test_quantised_weights_are_within_half_a_step(tmp_path):
    state = published("pointnet")
    back = read_quantised(quantise(state, tmp_path / "x.npz"))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        if tensor.dim() < 2:
            assert (back[name] == tensor).all()
        else:
            error, step = (back[name] - tensor).flatten(1).abs().amax(1), tensor.flatten(1).abs().amax(1) / 127
            assert (error <= 0.501 * step).all()
    assert import_published(tmp_path / "x.npz")[1].num_classes == 16


def test_a_quantised_weight_without_its_scale_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", fc3__q=np.zeros((2, 2), np.int8))
    with pytest.raises(UserError, match="fc3__q has no fc3__scale"):
        read_quantised(tmp_path / "x.npz")


def test_objects_in_an_npz_are_never_unpickled(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive, archive.open("fc.npy", "w") as entry:
        header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(entry, header)
        entry.write(pickle.dumps([_Bomb(tmp_path / "ran")]))
    with pytest.raises(UserError, match="not an npz of plain arrays"):
        read_quantised(tmp_path / "x.npz")
    assert not (tmp_path / "ran").exists()
