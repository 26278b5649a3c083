"""load(source), for every kind of source."""

import shutil

import huggingface_hub
import pytest
import torch
from published_files import FAIRMOT, published_file

from mot_occlusion import load
from mot_occlusion.losses import TrackingLoss
from mot_occlusion.models import HEADS, build_network
from mot_occlusion.models.tracking_model import TrackingModel
from mot_occlusion.pretrained import BUNDLED, initialise, load_model
from shared_utils import UserError, checkpoint

SIZE = (64, 96)


def _model(seed):
    torch.manual_seed(seed)
    return TrackingModel("small", {**HEADS, "id": 16}, SIZE, uncertainties={"s_det": -1.5, "s_id": -1.0})


def _ckpt(path, model):
    """What train.py leaves: the network inside of the Lightning module, beside the losses."""
    state = {f"network.{name}": value for name, value in model.network.state_dict().items()}
    state |= {f"loss.{name}": torch.tensor([value]) for name, value in model.uncertainties.items()}
    facts = {"backbone": model.backbone, "input_size": list(model.input_size)}
    checkpoint.save({"hyper_parameters": facts, "state_dict": state}, path)
    return path


def _run(folder):
    """A run of two versions of two checkpoints each; the wanted one is the best of version 10."""
    for number, (version, name) in enumerate((v, n) for v in (2, 10) for n in ("last", "best-epoch=1-val_ap50=0.5")):
        _ckpt(folder / f"version_{version}" / "checkpoints" / f"{name}.ckpt", _model(number))
    return folder


def _same(detector, model):
    ours, theirs = detector.model.network.state_dict(), model.network.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_nothing_is_the_bundled_network():
    detector = load()
    assert _same(detector, load_model(BUNDLED)) and detector.input_size == (192, 320)
    assert not detector.network.training


def test_a_run_is_its_best_checkpoint(tmp_path):
    run = _run(tmp_path / "runs" / "default")
    for source in (run, str(run), run / "version_10"):
        assert _same(load(source, "cpu"), _model(3))
    assert _same(load(run / "version_2", "cpu"), _model(1))


def test_a_checkpoint_file_is_itself(tmp_path):
    detector = load(_ckpt(tmp_path / "a.ckpt", _model(5)), "cpu")
    assert _same(detector, _model(5)) and detector.input_size == SIZE
    assert detector.model.uncertainties == pytest.approx({"s_det": -1.5, "s_id": -1.0})


@pytest.mark.parametrize("damage", [b"", b"<html>", b"\0" * 4000])
def test_a_damaged_newest_checkpoint_is_skipped(tmp_path, caplog, damage):
    run = _run(tmp_path / "default")
    broken = run / "version_10" / "checkpoints" / "best-epoch=2-val_ap50=0.6.ckpt"
    broken.write_bytes(damage)
    assert _same(load(run, "cpu"), _model(3)) and broken.name in caplog.text


def test_a_newest_version_without_a_good_checkpoint_is_skipped(tmp_path):
    run = _run(tmp_path / "default")
    for path in (run / "version_10" / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-500])
    assert _same(load(run, "cpu"), _model(1))


def test_what_save_pretrained_wrote_is_read_back(tmp_path):
    load(_ckpt(tmp_path / "a.ckpt", _model(5)), "cpu").save_pretrained(tmp_path / "exported")
    for source in (tmp_path / "exported", tmp_path / "exported" / "model.safetensors"):
        detector = load(source, "cpu")
        assert _same(detector, _model(5)) and detector.input_size == SIZE
        assert detector.model.uncertainties == pytest.approx({"s_det": -1.5, "s_id": -1.0})


def test_a_published_file_is_imported(tmp_path):
    original, path = published_file(tmp_path, FAIRMOT)
    detector = load(path, "cpu", input_size=SIZE)
    assert torch.equal(detector.network.hm[0].weight, original.hm[0].weight)
    assert detector.untrained == {"occlusion", "occlusion_offset"}


def test_a_model_of_the_hub_is_downloaded(tmp_path, monkeypatch):
    _model(5).save_pretrained(tmp_path / "snapshot")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **options: tmp_path / "snapshot")
    assert _same(load("user/tracker", "cpu"), _model(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "none.ckpt", "none.ckpt not found"),
        (lambda path: path, "no good checkpoint in"),
        (lambda path: (path / "a.pth").write_text("text") and path / "a.pth", "a.pth"),
        (
            lambda path: _save(path / "a.ckpt", {"hyper_parameters": {}, "state_dict": {}}),
            "is not a checkpoint of this",
        ),
        (lambda path: _exported(path / "m", config="{}"), "is not the description of an exported model"),
        (lambda path: _exported(path / "m", config='{"backbone": "huge", "heads": {}}'), "unknown backbone 'huge'"),
    ],
)
def test_what_is_not_a_network_is_named(tmp_path, make, message):
    with pytest.raises(UserError) as error:
        load(make(tmp_path), "cpu")
    assert message in str(error.value)


def _save(path, content):
    checkpoint.save(content, path)
    return path


def _exported(folder, config):
    shutil.copytree(BUNDLED, folder)
    (folder / "config.json").write_text(config)
    return folder


def test_a_damaged_exported_model_is_refused(tmp_path):
    folder = _exported(tmp_path / "m", (BUNDLED / "config.json").read_text())
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="model.safetensors is damaged"):
        load(folder, "cpu")


def test_arguments_of_the_detector_are_passed_on(tmp_path):
    path = _ckpt(tmp_path / "a.ckpt", _model(5))
    assert load(path, "cpu", "bf16", (32, 64)).input_size == (32, 64)


# Starting a training --------------------------------------------------------------------------------------------------


def test_training_starts_from_a_published_file(tmp_path):
    """Sizes that differ start afresh, and the report names them."""
    losses = {"s_det": torch.tensor([-1.7]), "s_id": torch.tensor([-0.9])}
    original, path = published_file(tmp_path, FAIRMOT, loss_state_dict=losses, hidden=256)
    network, loss = build_network("dla34", {**HEADS, "id": 16}), TrackingLoss()
    report = initialise(network, path, loss)
    assert torch.equal(network.hm[0].weight, original.hm[0].weight) and loss.s_det.item() == pytest.approx(-1.7)
    assert report.endswith("initialised afresh: id, occlusion, occlusion_offset")


def test_small_network_starts_from_no_dla34(tmp_path):
    _, path = published_file(tmp_path, FAIRMOT)
    with pytest.raises(UserError, match="holds a dla34.*SmallNetwork"):
        initialise(build_network("small", HEADS), path)
