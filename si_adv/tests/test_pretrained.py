"""A victim keeps its facts on every way to disk and back, and files that hold none are named."""

import json
import os
import time

import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.pretrained import BUNDLED, bundled, load_one, load_several, load_victim
from si_adv.published import export_published
from si_adv.victim import Victim

NAMES = ["chair", "table", "vase"]
FACTS = ("architecture", "num_classes", "class_names", "num_points", "with_normals")


@pytest.fixture
def victim():
    torch.manual_seed(0)
    return Victim("pointnet_small", 3, class_names=NAMES, num_points=256, with_normals=True).eval()


def same(ours, theirs):
    clouds = torch.rand(2, 6 if ours.with_normals else 3, 128, generator=torch.Generator().manual_seed(0))
    assert [getattr(ours, name) for name in FACTS] == [getattr(theirs, name) for name in FACTS]
    with torch.no_grad():
        return not theirs.training and bool((ours(clouds) == theirs(clouds)).all())


def lightning_checkpoint(victim, path, prefix="victim."):
    state = {prefix + name: tensor for name, tensor in victim.model.state_dict().items()}
    facts = {name: getattr(victim, name) for name in FACTS}
    torch.save({"state_dict": state, "hyper_parameters": {**facts, "learning_rate": 1e-3}, "epoch": 2}, path)
    return path


def test_a_folder_returns_the_victim(victim, tmp_path):
    victim.save_pretrained(tmp_path)
    assert same(victim, load_victim(tmp_path))
    assert same(victim, load_victim(tmp_path / "model.safetensors"))
    assert same(victim, Victim.from_pretrained(tmp_path).eval())


@pytest.mark.parametrize("architecture", ["paconv", "dgcnn", "pct"])
def test_modules_that_go_by_two_names_survive_the_folder(architecture, tmp_path):
    torch.manual_seed(0)
    victim = Victim(architecture, 3).eval()
    victim.save_pretrained(tmp_path)
    back = load_victim(tmp_path)
    assert all((tensor == back.state_dict()[name]).all() for name, tensor in victim.state_dict().items())


def test_options_of_the_architecture_survive_the_folder(tmp_path):
    Victim("dgcnn", 3, options={"k": 7, "embedding": 64}).save_pretrained(tmp_path)
    back = load_victim(tmp_path)
    assert back.model.k == 7 and back.model.linear1.in_features == 128
    assert load_victim(tmp_path, k=5).model.k == 5


def test_a_lightning_checkpoint_returns_the_victim(victim, tmp_path):
    assert same(victim, load_victim(lightning_checkpoint(victim, tmp_path / "last.ckpt")))


def test_a_published_checkpoint_returns_the_victim(tmp_path):
    victim = Victim("pointnet", 5).eval()
    torch.save(export_published(victim), tmp_path / "pointnet_cls.pth")
    assert same(victim, load_victim(tmp_path / "pointnet_cls.pth"))


def test_what_the_shapes_of_a_published_checkpoint_told_is_exported_too(tmp_path):
    torch.save(export_published(Victim("dgcnn", 5, options={"embedding": 64})), tmp_path / "dgcnn.t7")
    load_victim(tmp_path / "dgcnn.t7").save_pretrained(tmp_path / "folder")
    assert load_victim(tmp_path / "folder").model.linear1.in_features == 128


def run_of(victim, folder, **ages):
    """A run's folder: ``version_0_best=3`` is its best checkpoint, three seconds old."""
    now = time.time()
    for name, age in ages.items():
        version, number, kind = name.split("_")
        path = folder / f"{version}_{number}" / "checkpoints" / {"best": "best-3.ckpt", "last": "last.ckpt"}[kind]
        path.parent.mkdir(parents=True, exist_ok=True)
        lightning_checkpoint(victim, path)
        os.utime(path, (now - age, now - age))
    return folder


def test_nothing_means_the_bundled_victim():
    bundled = load_victim()
    assert bundled.class_names[3] == "chair" and bundled.num_points == 1024
    assert same(bundled, load_victim(BUNDLED))
    assert list(load_several(None)) == ["pointnet_procedural"]


def test_a_run_means_the_best_checkpoint_of_its_newest_version(victim, tmp_path):
    other = Victim("pointnet_small", 3, class_names=NAMES, num_points=256, with_normals=True).eval()
    run_of(other, tmp_path / "run", version_0_best=0)
    run_of(victim, tmp_path / "run", version_10_best=3)
    run_of(other, tmp_path / "run", version_10_last=0)
    assert same(victim, load_victim(tmp_path / "run"))
    assert same(victim, load_victim(tmp_path / "run" / "version_10"))
    assert same(other, load_victim(tmp_path / "run" / "version_0"))


def test_a_damaged_newest_checkpoint_is_skipped_and_named(victim, tmp_path, caplog):
    run_of(victim, tmp_path / "run", version_0_best=5, version_1_best=0)
    newest = tmp_path / "run" / "version_1" / "checkpoints" / "best-3.ckpt"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert same(victim, load_victim(tmp_path / "run"))
    assert "version_1/checkpoints/best-3.ckpt" in caplog.text
    with pytest.raises(UserError, match="best-3.ckpt is"):
        load_victim(newest)


def test_a_name_on_the_hub_is_fetched(victim, tmp_path, monkeypatch):
    victim.save_pretrained(tmp_path / "snapshot")
    asked = []
    fetch = lambda name, **options: asked.append(name) or str(tmp_path / "snapshot")  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    assert same(victim, load_victim("someone/furniture"))
    assert list(load_several("someone/furniture,b=someone/furniture")) == ["furniture", "b"]
    assert asked == ["someone/furniture"] * 3


def test_a_quantised_file_returns_a_victim(tmp_path):
    state = export_published(Victim("pointnet", 5))["model_state_dict"]
    np.savez(tmp_path / "weights.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    assert load_victim(tmp_path / "weights.npz").num_classes == 5


def test_several_victims_are_named_apart(victim, tmp_path):
    victim.save_pretrained(tmp_path / "v")
    assert list(load_several(f"{tmp_path}/v/, b={tmp_path}/v")) == ["v", "b"]
    with pytest.raises(UserError, match="two victims are called v"):
        load_several(f"{tmp_path}/v,{tmp_path}/v")
    with pytest.raises(UserError, match="one victim is expected, 2 are given"):
        load_one(f"{tmp_path}/v,b={tmp_path}/v")
    with pytest.raises(UserError, match="no victim given"):
        load_several(" ,")


def test_class_names_default_to_numbers_and_must_number_the_classes():
    assert Victim("pointnet_small", 2).class_names == ["class_0", "class_1"]
    with pytest.raises(UserError, match="3 class names for 4 classes"):
        Victim("pointnet_small", 4, class_names=NAMES)


# What is refused


def test_another_number_of_classes_is_refused(victim, tmp_path):
    victim.save_pretrained(tmp_path)
    assert load_victim(tmp_path, num_classes=3).num_classes == 3
    with pytest.raises(UserError, match="has 3 classes and 40 were expected"):
        load_victim(tmp_path, num_classes=40)


def test_a_folder_without_its_files_is_named(victim, tmp_path):
    with pytest.raises(UserError, match=r"no good checkpoint in .*give runs/NAME or a folder with config.json"):
        load_victim(tmp_path)
    victim.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model.safetensors"):
        load_victim(tmp_path)


@pytest.mark.parametrize("text", ["{not json", "[1, 2]", '{"architecture": "pointnet"}'])
def test_a_folder_with_another_config_is_named(victim, tmp_path, text):
    victim.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config.json (is not |does not say the victim's num_classes)"):
        load_victim(tmp_path)


def test_weights_of_another_width_are_named(victim, tmp_path):
    victim.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architecture": "pointnet"}))
    with pytest.raises(UserError, match="model.safetensors does not fit Victim: .*mismatched"):
        load_victim(tmp_path)


def test_a_lightning_checkpoint_of_something_else_is_named(victim, tmp_path):
    with pytest.raises(UserError, match="no entry that begins with 'victim.'"):
        load_victim(lightning_checkpoint(victim, tmp_path / "other.ckpt", prefix="net."))


def test_the_upsampler_of_a_defence_is_no_victim(tmp_path):
    from si_adv.models.punet import PUNet

    torch.save(PUNet().state_dict(), tmp_path / "pu.pth")
    with pytest.raises(UserError, match="holds a pu_net, which is not a classifier"):
        load_victim(tmp_path / "pu.pth")


def test_bundled_victims_go_by_their_names(tmp_path, monkeypatch, victim):
    monkeypatch.chdir(tmp_path)
    assert {"pointnet"} <= set(bundled())
    for name, folder in bundled().items():
        assert same(load_victim(name), load_victim(folder))
    victim.save_pretrained(tmp_path / "pointnet")  # a file of the user's comes first
    assert same(load_victim("pointnet"), victim)
    assert list(load_several("pointnet,b=pointnet")) == ["pointnet", "b"]
