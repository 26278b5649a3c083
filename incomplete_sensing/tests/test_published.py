"""Published checkpoints and operator files, in and out, with nothing of them run."""

import argparse
import pickle

import numpy as np
import pytest
import torch

from incomplete_sensing.models import AutoEncoder, UNet
from incomplete_sensing.operators import OperatorOptions, draw_operators, read_operators
from incomplete_sensing.published import export_published, import_published
from incomplete_sensing.reconstructor import Reconstructor
from incomplete_sensing.torch_files import read_published
from shared_utils import UserError


def _moi_checkpoint(network, **options):
    stored = argparse.Namespace(device=torch.device("cpu"), dtype=torch.float32, task="mnist-cs", **options)
    optimizer = torch.optim.Adam(network.parameters())
    return {"epoch": 99, "state_dict": network.state_dict(), "optimizer": optimizer.state_dict(), "args": stored}


def test_moi_checkpoint_with_a_namespace_gives_equal_output(tmp_path):
    network = UNet(3, 3, circular_padding="first", base_channels=4).eval()
    path = tmp_path / "ckp_99.pth.tar"
    torch.save(_moi_checkpoint(network, residual=True, circular_padding=True, cat=True), path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    reconstructor, report = import_published(path)
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(reconstructor.network(x), network(x))
    assert not report.missing and not report.unexpected


def test_published_names():
    assert set(AutoEncoder().state_dict()) == {
        f"{part}.{layer}.{kind}" for part in ("encoder", "decoder") for layer in (0, 2) for kind in ("weight", "bias")
    }
    names = set(UNet().state_dict())
    assert len(names) == 121
    assert {"Conv1.0.weight", "Up4.1.weight", "Up_conv4.3.bias", "Conv_1x1.weight"} <= names


def test_options_of_the_file_are_honoured():
    network = AutoEncoder(16, 6, residual=False, width=10)
    reconstructor, _ = import_published(_moi_checkpoint(network, residual=False))
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(reconstructor.network(x), network(x))


def _ei_state(network):
    """EI's and REI's layout, with their fifth level."""
    state = {}
    for name, value in network.state_dict().items():
        block, rest = name.split(".", 1)
        middle = "" if block == "Conv_1x1" else "up." if block.startswith("Up") and "_" not in block else "conv."
        state[f"{block}.{middle}{rest}"] = value
    return state


@pytest.mark.parametrize("prefix", ["", "module."])
def test_ei_checkpoint_drops_the_level_that_never_runs_and_says_so(prefix):
    whole = UNet(1, 1, base_channels=2, levels=5).eval()
    state = {prefix + name: value for name, value in _ei_state(whole).items()}
    reconstructor, report = import_published({"epoch": 1, "state_dict": state, "args": {"task": "ct"}})
    compact = UNet(1, 1, base_channels=2).eval()
    compact.load_state_dict({name: value for name, value in whole.state_dict().items() if name in compact.state_dict()})
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(reconstructor.network(x), compact(x))
    assert report.dropped and "fifth level" in str(report)
    five, report = import_published({"state_dict": state}, compact=5)
    assert torch.equal(five.network(x), whole(x)) and not report.dropped


def test_deepinv_checkpoint_starts_from_the_adjoint():
    network = UNet(1, 1, circular_padding="all", base_channels=4, levels=3).eval()
    state = {f"backbone_net.{name}": value for name, value in network.state_dict().items()}
    operators = draw_operators(OperatorOptions("mask", 2, keep=0.5), (1, 8, 8))
    reconstructor, _ = import_published(
        {"state_dict": state, "optimizer": {}}, operators=operators, circular_padding=True
    )
    y = operators(torch.rand(2, 1, 8, 8), 1)
    assert torch.equal(reconstructor(y, 1), network(operators.adjoint(y, 1)))


def test_exported_checkpoint_is_what_was_imported():
    network = AutoEncoder(16, 6, width=10)
    reconstructor, _ = import_published(_moi_checkpoint(network))
    again = export_published(reconstructor)
    assert list(again["state_dict"]) == list(network.state_dict())
    assert all(torch.equal(again["state_dict"][name], value) for name, value in network.state_dict().items())
    with pytest.raises(UserError, match="no network mlp"):
        export_published(Reconstructor({"name": "mlp"}, (1, 4, 4)))


class _Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_code_in_a_file_is_never_run(tmp_path, capsys):
    path = tmp_path / "evil.pth.tar"
    torch.save({"state_dict": {}, "args": _Evil()}, path)
    with pytest.raises(UserError, match="asks for code .*never run"):
        read_published(path)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"fc.weight": torch.ones(2, 2)}}, "belong to none of MOI"),
        ([1, 2], "holds no state dict"),
        (
            {"state_dict": {"encoder.0.weight": torch.ones(3, 4), "encoder.2.weight": torch.ones(2, 3)}},
            "does not fit AutoEncoder",
        ),
    ],
)
def test_other_files_are_named(content, message):
    with pytest.raises(UserError, match=message):
        import_published(content)


def test_not_a_checkpoint(tmp_path):
    for name, content in (("empty.pth", b""), ("text.pth", b"hello"), ("page.pth", b"<html>")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            read_published(tmp_path / name)


# Operator files ------------------------------------------------------------------------------------------------------


def test_cached_compressed_sensing_matrices(tmp_path):
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((3, 5, 16))
    for g, matrix in enumerate(matrices):
        torch.save([matrix, np.linalg.pinv(matrix)], tmp_path / f"forw_cs_5x16_G3_g{g}.pt")
    family = read_operators(tmp_path)
    assert family.image_shape == (1, 4, 4)
    assert torch.allclose(family.matrices.double(), torch.from_numpy(matrices), atol=1e-7)
    assert np.allclose(family.pseudo_inverses[1], np.linalg.pinv(matrices[1]), atol=1e-5)


def test_cached_masks(tmp_path):
    flat = (torch.arange(16) % 3 > 0).float()[:, None]
    torch.save(flat, tmp_path / "forw_ipt_10x16_G1_g0.pt")
    assert torch.equal(read_operators(tmp_path / "forw_ipt_10x16_G1_g0.pt").masks[0, 0], flat.reshape(4, 4))
    image = (torch.arange(20).reshape(4, 5) % 2).float()
    for g in range(2):
        torch.save(image, tmp_path / f"mask4x5_random0.5_G100_g{g}.pt")
    with pytest.raises(UserError, match="several families"):
        read_operators(tmp_path)
    (tmp_path / "forw_ipt_10x16_G1_g0.pt").unlink()
    assert read_operators(tmp_path, (3, 4, 5)).measurement_shape == (3, 4, 5)


def test_cached_k_space_masks_in_the_order_of_g(tmp_path):
    for g in range(11):
        mask = torch.zeros(1, 12, 1)
        mask[0, g] = 1
        torch.save({"mask": mask}, tmp_path / f"mask_4x_G100_g{g}.pth.tar")
    family = read_operators(tmp_path)
    assert family.image_shape == (2, 12, 12) and family.num_operators == 11
    assert torch.equal(family.masks[10, 0].nonzero()[:, 0], torch.tensor([10]))
    (tmp_path / "mask_4x_G100_g3.pth.tar").unlink()
    with pytest.raises(UserError, match="lacks operator 3"):
        read_operators(tmp_path)


def test_a_folder_without_operators_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no operator files"):
        read_operators(tmp_path)
