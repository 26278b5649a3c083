"""Released files: what is imported of them, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mrf_unroll.published import (
    as_reconstructor,
    import_encoder,
    import_published,
    published_content,
    read_mrfresnet,
    read_published,
)
from shared_utils import UserError
from shared_utils.testing import fill

RELEASED = Path(__file__).parents[3] / "shared" / "data" / "mrf_unroll"
needs_release = pytest.mark.skipif(not RELEASED.is_dir(), reason="the released weights are not beside this checkout")
BLOCH = RELEASED / "pgdnet_released" / "miccai_bloch_gen_200210-180246.pt"


def _encoder_shapes(hidden=8, rank=5):
    block = {"conv1": (hidden, rank, 3, 3), "conv2": (rank, hidden, 3, 3)}
    head = {"0": (hidden, rank, 1, 1), "2": (hidden, hidden, 1, 1), "4": (3, hidden, 1, 1)}
    weights = {f"rsb{n}.{name}.weight": shape for n in (1, 2) for name, shape in block.items()}
    weights |= {f"mrfnet.cnn.{name}.weight": shape for name, shape in head.items()}
    return weights | {name.replace("weight", "bias"): shape[:1] for name, shape in weights.items()}


def _decoder_shapes(rank=5, hidden=12):
    weights = {"Conv.0.weight": (hidden, 2, 1, 1), "Conv.2.weight": (rank, hidden, 1, 1)}
    return weights | {name.replace("weight", "bias"): shape[:1] for name, shape in weights.items()}


def _filled(shapes, prefix=""):
    return {prefix + name: torch.from_numpy(fill(name, shape)) for name, shape in shapes.items()}


@needs_release
@pytest.mark.parametrize(("count", "hidden"), [(1, 32), (2, 64), (5, 64)])
def test_released_weights_are_imported_and_give_maps(count, hidden):
    network, report = import_published(RELEASED / "pgdnet_released" / f"PGD_NET_Spiral_T_{count}.pt", BLOCH)
    assert network.iterations == count and network.encoder.rsb1.conv1.out_channels == hidden
    assert len(report.matched) == 18 and not report.unknown
    assert any(name.startswith("rsb3.") for name in report.unused) and "Conv_1x1.weight" in report.unused
    maps = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        iterates = network(network.decoder(maps), torch.clone)
    assert all(torch.isfinite(one).all() for one in iterates.maps) and len(iterates.maps) == count


@needs_release
def test_released_weights_need_their_second_block():
    """Only with both blocks does the encoder bring the decoder's own time series back to about the T1 that made them."""
    path = RELEASED / "pgdnet_released" / "PGD_NET_Spiral_T_5.pt"
    truth = torch.tensor([[1.35, 0.100, 0.85], [0.83, 0.075, 0.7]])
    errors = {}
    for blocks in (1, 2):
        network, _ = import_published(path, BLOCH, blocks=blocks)
        with torch.no_grad():
            maps = network.encode(network.decoder(truth[:, :, None, None].expand(-1, -1, 24, 24).clone()))[0]
        found = maps[:, 0, 8:16, 8:16].mean(dim=(1, 2))
        errors[blocks] = float(((found - truth[:, 0]) / truth[:, 0]).abs().max())
    assert errors[2] < 0.3 and errors[1] > 1.5 * errors[2]


@needs_release
def test_the_released_decoder_is_two_layers_of_its_file():
    network, _ = import_published(RELEASED / "pgdnet_released" / "PGD_NET_Spiral_T_2.pt", BLOCH)
    state = {name: value.double().squeeze() for name, value in read_published(BLOCH).items()}
    relaxation = torch.tensor([0.83, 0.075], dtype=torch.float64)
    hidden = (state["Conv.0.weight"] @ relaxation + state["Conv.0.bias"]).clamp_min(0)
    expected = 0.7 * (state["Conv.2.weight"] @ hidden + state["Conv.2.bias"])
    maps = torch.tensor([0.83, 0.075, 0.7])[None, :, None, None]
    torch.testing.assert_close(network.decoder(maps).flatten().double(), expected, rtol=1e-5, atol=1e-5)


@needs_release
def test_the_subspace_of_mrfresnet_is_orthonormal():
    subspace = read_mrfresnet(RELEASED / "MRFResnet_AE.mat")
    assert subspace.basis.shape == (880, 10) and len(subspace.norm) == 113781
    np.testing.assert_allclose(subspace.basis.conj().T @ subspace.basis, np.eye(10), atol=1e-5)
    np.testing.assert_allclose(subspace.scale_s, [4.0, 0.6], rtol=1e-6)


def test_unknown_tensors_are_listed_and_published_leftovers_are_not():
    state = _filled(_encoder_shapes(), "transformnet.")
    state |= {
        "transformnet.rsb4.conv1.weight": torch.zeros(8, 5, 3, 3),
        "transformnet.rsb1.bn1.running_var": torch.ones(8),
    }
    state["transformnet.attention.weight"] = torch.zeros(3)
    encoder, report = import_encoder(state)
    assert report.unknown == ["attention.weight"] and set(report.unused) == {
        "rsb4.conv1.weight",
        "rsb1.bn1.running_var",
    }
    assert len(report.matched) == len(encoder.state_dict())


def test_one_block_leaves_the_second_out():
    encoder, report = import_encoder(_filled(_encoder_shapes()), blocks=1)
    assert not hasattr(encoder, "rsb2") and {name.split(".")[0] for name in report.unused} == {"rsb2"}


def test_what_is_exported_as_published_is_imported_again():
    content = {"net_state_dict": _filled(_encoder_shapes(), "transformnet."), "alpha": np.array([1.0, -2.0, 3.0])}
    network, _ = import_published(content, _filled(_decoder_shapes()))
    again, _ = import_published(published_content(as_reconstructor(network)))
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize(
    ("content", "decoder", "said"),
    [
        (
            _decoder_shapes(),
            _decoder_shapes(),
            r"not an encoder of PGD-Net: expected rsb1.*holds Conv.0.weight \(12, 2, 1, 1\)",
        ),
        (_encoder_shapes(), _encoder_shapes(), r"not a Bloch decoder: expected .*\(h, 2, 1, 1\).*holds rsb1"),
        (
            _encoder_shapes(),
            _decoder_shapes(rank=7),
            r"do not fit together: .*\(8, 5, 3, 3\) takes 5.*\(7, 12, 1, 1\) makes 7",
        ),
        (_encoder_shapes(), None, "no Bloch decoder: import it"),
    ],
)
def test_the_wrong_file_is_refused_with_its_shapes(content, decoder, said):
    with pytest.raises(UserError, match=said):
        import_published(_filled(content), None if decoder is None else _filled(decoder), alpha=[1.0])


def test_a_network_without_steps_asks_for_them():
    with pytest.raises(UserError, match="has no alpha"):
        import_published(_filled(_encoder_shapes()), _filled(_decoder_shapes()))


class _Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


def test_nothing_in_a_file_is_run(scratch):
    torch.save({"net_state_dict": {}, "alpha": _Malicious()}, "evil.pt")
    with pytest.raises(UserError, match="evil.pt holds .*, which only running code"):
        read_published("evil.pt")
    Path("plain.pt").write_bytes(pickle.dumps(_Malicious(), protocol=2))
    with pytest.raises(UserError, match="plain.pt"):
        read_published("plain.pt")
    assert not Path("touched").exists()


def test_another_matlab_file_is_refused(scratch):
    from scipy.io import savemat

    savemat("other.mat", {"V": np.eye(3)})
    with pytest.raises(UserError, match=r"not laid out like MRFResnet_AE.mat: expected nn.V.*holds V"):
        read_mrfresnet("other.mat")
