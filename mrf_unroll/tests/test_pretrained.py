"""``load`` of every kind of source."""

import shutil

import huggingface_hub
import pytest
import torch

from mrf_unroll.pretrained import BUNDLED, load, load_with_baselines, network_digest
from mrf_unroll.published import published_content
from mrf_unroll.reconstructor import Reconstructor
from shared_utils import UserError, checkpoint


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return set(first) == set(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_without_a_source_it_is_the_bundled_network():
    network = load()
    assert same(network, Reconstructor.from_pretrained(BUNDLED)) and not network.training
    assert network.sequence is not None and len(network.sequence) == 120


def test_a_run_a_version_and_a_checkpoint_give_the_same_network(trained):
    (best,) = (trained / "checkpoints").glob("best-*.ckpt")
    network = load(best)
    assert same(load(trained.parent), network) and same(load(trained), network) and same(load(str(best)), network)


def test_an_exported_folder_and_its_weights_file_give_the_same_network(trained, tmp_path):
    load_with_baselines(trained).save(tmp_path / "net")
    assert same(load(tmp_path / "net"), load(trained))
    assert same(load(tmp_path / "net" / "model.safetensors"), load(trained))
    again = load_with_baselines(tmp_path / "net")
    assert list(again.networks) == ["unrolled", "unet"] and again.prior is not None and again.voxelwise is not None
    assert again.steps == load_with_baselines(trained).steps and again.steps["unrolled"] == 12


def test_a_published_file_gives_a_network_without_basis(tmp_path):
    network = Reconstructor({"name": "resnet", "hidden": 6}, rank=4, decoder_hidden=8)
    checkpoint.save(published_content(network), tmp_path / "PGD_NET.pt")
    found = load(tmp_path / "PGD_NET.pt")
    assert found.sequence is None and found.options["rank"] == 4
    assert torch.equal(found.network.alpha, network.network.alpha)
    content = published_content(network)
    content["net_state_dict"] = {k: v for k, v in content["net_state_dict"].items() if not k.startswith("bloch.")}
    checkpoint.save(content, tmp_path / "bare.pt")
    with pytest.raises(UserError, match=r"bare.pt has no Bloch decoder: import it"):
        load(tmp_path / "bare.pt")
    checkpoint.save(network.network.decoder.state_dict(), tmp_path / "bloch.pt")
    assert same(load(tmp_path / "bare.pt", decoder=tmp_path / "bloch.pt"), found)


def test_a_hub_id_is_downloaded_and_read(monkeypatch, tmp_path, scratch):
    asked = []

    def snapshot_download(name, **options):
        asked.append(name)
        return str(shutil.copytree(BUNDLED, tmp_path / "snapshot", dirs_exist_ok=True))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert same(load("user/model"), load()) and asked == ["user/model"]


def test_a_damaged_newest_checkpoint_is_skipped(trained, tmp_path, caplog):
    run = shutil.copytree(trained, tmp_path / "run")
    (best,) = (run / "checkpoints").glob("best-*.ckpt")
    damaged = run / "checkpoints" / "best-99.ckpt"
    damaged.write_bytes(best.read_bytes()[:-3000])
    assert same(load(run), load(trained))
    assert "best-99.ckpt" in caplog.text
    with pytest.raises(UserError, match=r"best-99.ckpt is"):
        load(damaged)


def test_what_is_not_a_network_is_named(tmp_path):
    checkpoint.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(UserError, match=r"foreign.ckpt is not a checkpoint of ours"):
        load(tmp_path / "foreign.ckpt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no good checkpoint in"):
        load(tmp_path / "empty")
    folder = shutil.copytree(BUNDLED, tmp_path / "net")
    for text, message in (("{", "is not a whole configuration of a network"), ('{"encode": 1}', "is not the config")):
        (folder / "config.json").write_text(text)
        with pytest.raises(UserError, match=rf"config.json {message}"):
            load(folder)
    with pytest.raises(UserError, match=r"none.ckpt not found"):
        load(tmp_path / "none.ckpt")


def test_the_digest_tells_weights_and_configurations_apart():
    network = load()
    digest = network_digest(network)
    assert network_digest(load()) == digest
    network.options = {**network.options, "level": 2.0}
    assert network_digest(network) != digest
    network = load()
    with torch.no_grad():
        network.network.alpha[0] += 1e-3
    assert network_digest(network) != digest
