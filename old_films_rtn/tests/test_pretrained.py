"""One way to a network, whatever the source; and the way of frames through it."""

import os

import films
import huggingface_hub
import numpy as np
import pytest
import torch

from old_films_rtn import Compositing, pretrained
from old_films_rtn.colour.lab import to_lab
from old_films_rtn.commands import restore
from old_films_rtn.models.colour import ColourNetwork
from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.rtn import RTN
from old_films_rtn.published import published_state
from old_films_rtn.video.io import open_film
from shared_utils import UserError, checkpoint, files


def network(seed=0, tanh_residual=False):
    torch.manual_seed(seed)
    rtn = RTN(8, 32, (1,), 2, tanh_residual).eval()
    torch.nn.init.normal_(rtn.output.weight, 0, 0.05)
    return rtn


def colour_network(seed=0):
    torch.manual_seed(seed)
    model = ColourNetwork().eval()
    torch.nn.init.normal_(model.fusion.out.weight, std=0.05)
    return model


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(map(torch.equal, a.values(), b.values()))


def lightning(path, when, **networks):
    """A checkpoint as train.py leaves it, written at a moment."""
    state = {f"{name}.{entry}": value for name, net in networks.items() for entry, value in net.state_dict().items()}
    checkpoint.save({"state_dict": state, "pytorch-lightning_version": "2.6.0", "global_step": 1}, path)
    os.utime(path, (when, when))
    return path


# The sources ----------------------------------------------------------------------------------------------------------


def test_nothing_is_the_bundled_network():
    restorer = pretrained.load()
    assert same(restorer, pretrained.load(pretrained.BUNDLED)) and restorer.raft is None
    assert sum(parameter.numel() for parameter in restorer.rtn.parameters()) == 144_957 + 251_569  # with its detector
    assert restorer.detects and restorer.passes == 1


def test_a_checkpoint_is_its_running_average_where_it_keeps_one(tmp_path):
    last = lightning(tmp_path / "last.ckpt", 1, rtn=network(0), discriminator=torch.nn.Linear(2, 2))
    averaged = lightning(tmp_path / "averaged.ckpt", 1, rtn=network(0), average=network(1))
    assert same(pretrained.load(last), network(0)) and same(pretrained.load(averaged), network(1))


def test_a_run_is_the_best_checkpoint_of_its_newest_version_and_a_damaged_one_is_skipped(tmp_path, caplog):
    for number in (0, 1):
        folder = tmp_path / "run" / f"version_{number}" / "checkpoints"
        lightning(folder / "best-1.ckpt", 10, rtn=network(4 * number))
        newest = lightning(folder / "best-2.ckpt", 20, rtn=network(4 * number + 1))
        lightning(folder / "last.ckpt", 30, rtn=network(4 * number + 2))
    assert same(pretrained.load(tmp_path / "run"), network(5))
    assert same(pretrained.load(tmp_path / "run" / "version_0"), network(1))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    os.utime(newest, (20, 20))
    assert same(pretrained.load(tmp_path / "run"), network(4)) and "best-2.ckpt" in caplog.text
    with pytest.raises(UserError, match=r"best-2\.ckpt is damaged"):
        pretrained.load(newest)


@pytest.mark.parametrize("raft", [False, True])
def test_an_exported_folder_comes_back(tmp_path, raft):
    torch.manual_seed(0)
    restorer = pretrained.Restorer(network(), RAFT() if raft else None)
    restorer.save_pretrained(tmp_path / "exported")
    again = pretrained.load(tmp_path / "exported")
    assert same(again, restorer) and again.rtn.options == restorer.rtn.options and (again.raft is not None) == raft
    config = files.read_json(tmp_path / "exported" / "config.json")
    assert config == {"network": "RTN", **restorer.rtn.options, "raft": raft}


def test_a_published_file_is_loaded_with_raft_inside(tmp_path):
    rtn, raft = network(tanh_residual=True), RAFT()
    state = published_state(rtn) | {f"spynet.{name}": value for name, value in raft.state_dict().items()}
    torch.save({"netG": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "net_G_200000.pth")
    restorer = pretrained.load(tmp_path / "net_G_200000.pth")
    assert same(restorer.rtn, rtn) and torch.equal(restorer.raft.fnet.conv2.bias, raft.fnet.conv2.bias)
    assert restorer.flow() is restorer.raft


def test_a_name_of_the_hub_is_downloaded(tmp_path, monkeypatch):
    pretrained.Restorer(network(3)).save_pretrained(tmp_path / "snapshot")
    pretrained.Colourer(colour_network(3)).save_pretrained(tmp_path / "colour")
    asked = []

    def snapshot(name, **_):
        asked.append(name)
        return str(tmp_path / ("colour" if "colour" in name else "snapshot"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.chdir(tmp_path)
    assert same(pretrained.load("films/rtn"), network(3))
    assert same(pretrained.load_colour("films/colour"), colour_network(3))
    assert asked == ["films/rtn", "films/colour"]


def test_the_colour_network_has_the_same_sources(tmp_path):
    assert sum(value.numel() for value in pretrained.load_colour().state_dict().values()) == 251_303
    model = colour_network()
    path = lightning(tmp_path / "run" / "version_0" / "checkpoints" / "best-0.ckpt", 1, model=model)
    pretrained.Colourer(model).save_pretrained(tmp_path / "exported")
    checkpoint.save_safetensors(model.state_dict(), tmp_path / "colour.safetensors")
    for source in (path, tmp_path / "run", tmp_path / "exported", tmp_path / "colour.safetensors"):
        assert same(pretrained.load_colour(source), model)
    with pytest.raises(UserError, match="no colour network to write"):
        pretrained.Colourer().save_pretrained(tmp_path / "nothing")


def test_each_network_is_refused_in_the_place_of_the_other(tmp_path):
    pretrained.Colourer(colour_network()).save_pretrained(tmp_path / "colour")
    colour = lightning(tmp_path / "colour.ckpt", 1, model=colour_network())
    pretrained.Restorer(network()).save_pretrained(tmp_path / "rtn")
    for source in (tmp_path / "colour", colour):
        with pytest.raises(UserError, match=f"{source.name}.* is a colour network"):
            pretrained.load(source)
    with pytest.raises(UserError, match="is not a colour network"):
        pretrained.load_colour(tmp_path / "rtn")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>not found</html>", "web page"),
        (b"\0" * 1000, "weights.pth"),
        (b"a text", "weights.pth"),
    ],
)
def test_what_is_not_a_network_is_named(tmp_path, content, reason):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        pretrained.load(tmp_path / "weights.pth")
    with pytest.raises(UserError, match="nowhere"):
        pretrained.load(tmp_path / "nowhere")


# Frames through them --------------------------------------------------------------------------------------------------


def test_a_restorer_gives_what_the_verb_writes(tmp_path):
    frames = np.stack(list(films.moving(4, height=50, width=70)))
    films.write_folder(tmp_path / "in", frames)
    pretrained.Restorer(network()).save_pretrained(tmp_path / "rtn")
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--ckpt", str(tmp_path / "rtn")]
    assert restore.main([*arguments, "--device", "cpu"]) == 0
    restored, masks = pretrained.load(tmp_path / "rtn")(frames)
    written = np.stack([frame.luma for frame in open_film(tmp_path / "out").frames()])
    assert np.array_equal(restored, written) and not np.array_equal(restored, frames)
    assert masks.shape == frames.shape and masks.dtype == np.uint8 and masks.max() == 255


def test_a_restorer_keeps_the_type_of_the_frames():
    frames = np.stack(list(films.moving(2))).astype(np.uint16) * 257
    restored, _ = pretrained.Restorer(network())(frames, Compositing(strength=0.0))
    assert restored.dtype == np.uint16 and np.array_equal(restored, frames)


def test_a_colourer_carries_the_colour_that_is_given():
    frames = np.stack(list(films.moving(3)))
    warm = np.stack([frames[0] * 1.0, frames[0] * 0.9, frames[0] * 0.7], axis=-1).astype(np.uint8)
    rgb = pretrained.load_colour()(frames, {0: warm})
    assert rgb.shape == (3, 48, 64, 3) and rgb.dtype == np.float32
    given, carried = to_lab(warm)[1:], to_lab(rgb)[:, 1:]
    assert np.abs(carried[0] - given).mean() < 1
    assert np.abs(carried[2] - given).mean() < 0.5 * np.abs(given).mean()
