"""One function loads a reconstruction from every place that it is kept in, and names what cannot be loaded."""

import json
import os
import shutil
from argparse import Namespace

import numpy as np
import pytest
import torch

from incomplete_sensing import pretrained
from incomplete_sensing.models import AutoEncoder
from incomplete_sensing.operators import OperatorOptions, draw_operators
from incomplete_sensing.published import export_published
from shared_utils import UserError, checkpoint


@pytest.fixture
def run_of(trained, tmp_path):
    """A copy of a run, ``runs/digits_cs`` with one version, that a test may damage."""
    shutil.copytree(trained.parent, tmp_path / "runs" / "digits_cs")
    return tmp_path / "runs" / "digits_cs"


def same(one, other):
    states = one.state_dict(), other.state_dict()
    return list(states[0]) == list(states[1]) and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_nothing_is_the_bundled_model():
    reconstructor = pretrained.load()
    assert reconstructor.image_shape == (1, 8, 8) and reconstructor.operators.num_operators == 10
    assert not reconstructor.training
    # As it was trained: the operators are those that the digits' configs draw.
    drawn = draw_operators(OperatorOptions("gaussian", 10, 24), (1, 8, 8))
    assert reconstructor.operators.fingerprint() == drawn.fingerprint()


def test_the_bundled_model_is_small_and_says_how_it_was_made():
    folder = pretrained.BUNDLED
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1e6
    assert "python train.py --config configs/digits_learner.yaml" in (folder.parent / "README.md").read_text()


def test_a_run_a_version_a_checkpoint_and_an_exported_folder_are_the_same(run_of, tmp_path):
    best = next((run_of / "version_0" / "checkpoints").glob("best-*.ckpt"))
    expected = pretrained.load(best)
    expected.save_pretrained(tmp_path / "exported")
    weights = tmp_path / "exported" / "model.safetensors"
    for source in (
        run_of,
        str(run_of),
        run_of / "version_0",
        run_of / "version_0" / "checkpoints",
        weights.parent,
        weights,
    ):
        assert same(pretrained.load(source), expected)


def test_the_newest_version_counts(run_of):
    shutil.copytree(run_of / "version_0", run_of / "version_10")
    (best,) = (run_of / "version_10" / "checkpoints").glob("best-*.ckpt")
    content = checkpoint.load_tensors(best)
    content["reconstructor"]["splits"] = 3
    checkpoint.save(content, best)
    assert pretrained.load(run_of).splits == 3


def test_a_damaged_newest_checkpoint_is_skipped_and_named(run_of, caplog):
    folder = run_of / "version_0" / "checkpoints"
    (best,) = folder.glob("best-*.ckpt")
    expected = pretrained.load(best)
    newer = folder / "best-99.ckpt"
    damaged = bytearray(best.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    newer.write_bytes(damaged)
    os.utime(newer, (best.stat().st_mtime + 10,) * 2)
    assert same(pretrained.load(run_of), expected)
    assert "best-99.ckpt" in caplog.text
    with pytest.raises(UserError, match="best-99.ckpt is damaged"):
        pretrained.load(newer)


def test_a_published_file_is_a_network_that_takes_operators(tmp_path):
    network = AutoEncoder(64, 6, width=10)
    torch.save({"epoch": 9, "state_dict": network.state_dict(), "args": Namespace(task="cs")}, tmp_path / "ckp.pth.tar")
    assert pretrained.load(tmp_path / "ckp.pth.tar").operators is None
    operators = draw_operators(OperatorOptions("gaussian", 2, 24), (1, 8, 8))
    reconstructor = pretrained.load(tmp_path / "ckp.pth.tar", operators)
    y = torch.rand(2, 24)
    assert torch.equal(reconstructor(y, 1), network.eval()(operators.pinv(y, 1)))
    checkpoint.save(export_published(reconstructor), tmp_path / "again.pth.tar")
    assert torch.equal(pretrained.load(tmp_path / "again.pth.tar", operators)(y, 1), reconstructor(y, 1))


def test_a_name_on_the_hub(trained, tmp_path, monkeypatch):
    import huggingface_hub

    pretrained.load(trained).save_pretrained(tmp_path / "snapshot")
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **_: asked.append(name) or str(tmp_path / "snapshot"),
    )
    assert same(pretrained.load("someone/digits"), pretrained.load(trained))
    assert asked == ["someone/digits"]


def test_other_operators_take_the_place_of_the_stored_ones(trained):
    operators = draw_operators(OperatorOptions("gaussian", 3, 24), (1, 8, 8), seed=5)
    assert pretrained.load(trained, operators).operators is operators
    with pytest.raises(UserError, match="reconstructs images of shape"):
        pretrained.load(trained, draw_operators(OperatorOptions("gaussian", 3, 24), (1, 6, 6)))


def test_what_cannot_be_loaded_is_named(trained, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no good checkpoint in"):
        pretrained.load(tmp_path / "empty")
    with pytest.raises(UserError, match="nowhere.ckpt not found"):
        pretrained.load(tmp_path / "nowhere.ckpt")
    np.savez(tmp_path / "arrays.npz", x=np.ones(3))
    with pytest.raises(UserError, match=r"arrays\.npz"):
        pretrained.load(tmp_path / "arrays.npz")
    pretrained.load(trained).save_pretrained(tmp_path / "exported")
    config = tmp_path / "exported" / "config.json"
    content = json.loads(config.read_text())
    config.write_text(config.read_text()[:50])
    with pytest.raises(UserError, match=r"config\.json is not a whole"):
        pretrained.load(tmp_path / "exported")
    config.write_text(json.dumps({"hidden": 3}))
    with pytest.raises(UserError, match="does not describe a reconstruction"):
        pretrained.load(tmp_path / "exported")
    config.write_text(json.dumps(content | {"depth": 3}))
    with pytest.raises(UserError, match="unexpected keyword argument 'depth'"):
        pretrained.load(tmp_path / "exported")
    config.write_text(json.dumps(content | {"network": {"name": "resnet"}}))
    with pytest.raises(UserError, match="unknown network 'resnet'"):
        pretrained.load(tmp_path / "exported")
