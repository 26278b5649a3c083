"""Every layout in, out and in again with equal tensors; files that are not whole or not ours are refused."""

import pickle

import pytest
import torch

from luperson_nl.models.reid import build_reid
from luperson_nl.models.trunks import build_trunk
from luperson_nl.pnl import PNL
from luperson_nl.published import (
    export_pretraining,
    export_published,
    import_pretraining,
    import_published,
    layout_of,
    restore,
)
from shared_utils import UserError

PIXELS = ((0.3, 0.31, 0.32), (0.2, 0.21, 0.22))


def pretraining(method="pnl", **settings):
    settings = {"dim": 8, "cls_dim": 12, "queue_size": 10, "hidden": 16, **settings}
    model = PNL("resnet_mini", 5, method, **settings).train()
    images = torch.randn(4, 3, 32, 16)
    model.step(images, images, torch.arange(4))
    return model


def assert_same(first, second):
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def without(state, *names):
    return {name: value for name, value in state.items() if name not in names}


@pytest.mark.parametrize(("method", "cls_dim"), [("pnl", 12), ("pnl", None), ("moco", 12)])
def test_training_files_come_and_go(method, cls_dim):
    model = pretraining(method, cls_dim=cls_dim)
    written = export_pretraining(model, epoch=3, arch="resnet_mini")
    assert all(name.startswith("module.") for name in written["state_dict"]) and written["epoch"] == 3
    if method == "pnl":
        assert written["state_dict"]["module.queue_id"].shape == (10, 1)
        key_classifier = "module.encoder_k.classifier.weight"
        written["state_dict"][key_classifier] = torch.randn(5, cls_dim or 96)
    again, rest = import_pretraining(written)
    assert_same(again.state_dict() | {"num_steps": model.num_steps}, model.state_dict())
    assert_same(export_pretraining(again, rest)["state_dict"], written["state_dict"])
    assert_same(
        restore({f"model.{name}": value for name, value in model.state_dict().items()}).state_dict(), model.state_dict()
    )


def test_a_pointer_at_the_end_of_the_queue_is_0():
    written = export_pretraining(pretraining())
    written["state_dict"]["module.queue_ptr"] = torch.tensor([10])
    assert import_pretraining(written)[0].objective.queue.pointer.tolist() == [0]


def test_either_encoder_of_a_pretraining_file_is_taken():
    model = pretraining(key_momentum=0.0)
    with torch.no_grad():
        model.encoder_k.trunk.conv1.weight.mul_(2)
    written = export_pretraining(model)
    for encoder, ours in (("q", model.encoder_q), ("k", model.encoder_k)):
        found = import_published(written, encoder=encoder)
        assert found.layout == "pnl" and found.trunk == "resnet_mini"
        assert_same(found.network.state_dict(), ours.trunk.state_dict())
        assert "queue (1)" in str(found)


def wrapped(state):
    return {"state_dict": {f"module.{name}": value for name, value in state.items()}}


@pytest.mark.parametrize("extra", [{}, {"fc.weight": torch.ones(3, 96), "classifier.bias": torch.ones(3)}])
@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"state_dict": {f"module.{n}": v for n, v in state.items()}}]
)
def test_flat_resnets_come_and_go(extra, wrap):
    trunk = build_trunk("resnet_mini")
    found = import_published(wrap(export_published(trunk, "torchvision") | extra))
    assert found.layout == "resnet"
    assert_same(found.network.state_dict(), trunk.state_dict())


@pytest.mark.parametrize("layout", ["fork", "fastreid"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bot", {}),
        ("bot", {"embedding_dim": 24, "pool": "gem_learned"}),
        ("agw", {"non_local": (0, 1, 1, 0)}),
        ("mgn", {"embedding_dim": 8}),
        ("mgn", {"extra_bn": True}),
    ],
)
def test_networks_of_fine_tuning_come_and_go(layout, kind, options):
    network = build_reid(kind, "resnet_mini", 6, **options)
    if layout == "fastreid" and options.get("extra_bn"):
        with pytest.raises(UserError, match="use --to fork"):
            export_published(network, layout)
        return
    written = export_published(network, layout, PIXELS)
    found = import_published(written)
    assert (found.kind, found.trunk, found.options["num_classes"]) == (kind, "resnet_mini", 6)
    assert_same(found.network.state_dict(), network.state_dict())
    assert_same(export_published(found.network, layout, found.statistics)["model"], written["model"])
    if layout == "fork":
        assert found.statistics[0] == pytest.approx(PIXELS[0])


def test_the_old_name_of_the_neck_is_taken_and_a_missing_neck_is_not():
    state = export_published(build_reid("bot", "resnet_mini", 6), "fork", PIXELS)["model"]
    old = {name.replace("heads.bottleneck.0.", "heads.bnneck."): value for name, value in state.items()}
    found = import_published(old)
    assert_same(found.network.state_dict(), without(state, "pixel_mean", "pixel_std"))
    assert "bnneck" in str(found)
    with pytest.raises(UserError, match=r"heads\.bottleneck\.0\.running_var"):
        import_published(without(state, "heads.bottleneck.0.running_var"))
    with pytest.raises(UserError, match=r"backbone\.layer4\.0\.bn2\.weight"):
        import_published(without(state, "backbone.layer4.0.bn2.weight"))


def test_a_file_without_its_classifier_is_whole():
    state = export_published(build_reid("bot", "resnet_mini", 6), "fastreid")["model"]
    found = import_published(without(state, "heads.weight"))
    assert "no classifier in the file" in str(found)


def test_a_model_of_timm_is_named():
    trunk = build_trunk("timm:resnet10t")
    written = export_published(trunk, "timm")
    assert_same(
        import_published(written | {"fc.weight": torch.ones(2, 512)}, trunk="timm:resnet10t").network.state_dict(),
        trunk.state_dict(),
    )
    with pytest.raises(UserError, match="missing"):
        import_published(without(written, "bn1.weight"), trunk="timm:resnet10t")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: without(state, "layer3.0.bn1.bias"), r"1 missing: layer3\.0\.bn1\.bias"),
        (lambda state: {n: v for n, v in state.items() if not n.startswith("layer4.")}, "names of no known layout"),
        (lambda state: state | {"layer2.0.se.fc.weight": torch.ones(1)}, "squeeze and excitation"),
        (lambda state: state | {"layer2.1.conv1.weight": torch.ones(1)}, "1-2-1-1 blocks"),
        (lambda state: state | {"bn1.bias": torch.full((16,), torch.nan)}, "not finite"),
        (lambda state: {"weights": state}, "holds no state dict"),
        (lambda state: {f"features.{n}": v for n, v in state.items()}, "names of no known layout"),
    ],
)
def test_a_wrong_file_is_refused_by_name(change, words):
    with pytest.raises(UserError, match=words):
        import_published(change(build_trunk("resnet_mini").state_dict()))


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_with_code_is_never_run(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "evil.pkl"):
        with pytest.raises(UserError, match=name):
            import_published(tmp_path / name)
    assert "run" not in capsys.readouterr().out


def test_layouts_are_told_apart():
    assert layout_of(build_trunk("resnet_mini").state_dict()) == "resnet"
    assert layout_of(build_reid("mgn", "resnet_mini", 2).state_dict()) == "mgn"
