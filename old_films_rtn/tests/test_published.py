"""Files as they are released, and files that are not what they seem."""

import pytest
import torch
from golden_network import filled

from old_films_rtn import pretrained, published
from old_films_rtn.models.raft import RAFT
from old_films_rtn.models.rtn import RTN
from old_films_rtn.models.swin import shift_mask
from shared_utils import UserError, checkpoint
from shared_utils.testing import golden_cases


@pytest.fixture(scope="module")
def released():
    """A generator's state dict with every entry that the released file has."""
    case = next(
        case for case in golden_cases(published.Path(__file__).parent / "golden") if "Video_Backbone" in case.module
    )
    state = case.state_dict()
    state |= {n.replace(".downsample.1.", ".norm3."): t for n, t in state.items() if ".downsample.1." in n}
    for name in [name for name in state if name.endswith("relative_position_bias_table")]:
        state[name.replace("bias_table", "index")] = torch.zeros(64, 64, dtype=torch.long)
        if ".blocks.1." in name:
            block = name.split("attn.relative")[0]
            state[block + "attn_mask"] = shift_mask(128, 128, 8, 4, torch.device("cpu"), torch.float32).clone()
    return state


def test_the_released_layout_imports_without_a_manual_step(released, tmp_path):
    torch.save({"netG": {f"module.{name}": tensor for name, tensor in released.items()}}, tmp_path / "net_G_200000.pth")
    torch.save(released, tmp_path / "bare.pth")
    wrapped, bare = pretrained.load(tmp_path / "net_G_200000.pth"), pretrained.load(tmp_path / "bare.pth")
    assert all(map(torch.equal, wrapped.state_dict().values(), bare.state_dict().values()))
    assert torch.equal(wrapped.rtn.output.weight, released["conv_last.weight"])
    assert wrapped.rtn.tanh_residual
    assert torch.equal(
        wrapped.raft.cnet.layer2[0].downsample[1].running_mean, released["spynet.cnet.layer2.0.norm3.running_mean"]
    )


def test_an_alias_that_differs_from_its_tensor_is_an_error(released):
    broken = dict(released)
    name = next(name for name in broken if ".norm3." in name)
    broken[name] = broken[name] + 1
    with pytest.raises(UserError, match="norm3"):
        published.import_generator(broken)


def test_a_half_match_is_refused_with_the_names(released):
    half = {name: tensor for name, tensor in released.items() if not name.startswith("up1.")}
    with pytest.raises(UserError, match=r"missing: refine\.0\.weight"):
        published.import_generator(half)
    with pytest.raises(UserError, match="unexpected: surprise"):
        published.import_generator({**released, "surprise": torch.zeros(1)})
    with pytest.raises(UserError, match="mismatched"):
        published.import_generator({**released, "conv_last.weight": torch.zeros(3, 8, 3, 3)})


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("backbone.mamba.A_logs", "MambaOFR"),
        ("deform_align.backward.conv_offset.0.weight", "RRTN"),
        ("conv.0.weight_orig", "discriminator"),
    ],
)
def test_other_models_are_refused_by_their_name(entry, name):
    with pytest.raises(UserError, match=name):
        published.import_generator({entry: torch.zeros(1)})


TORCHVISION = [
    (".encoder.convc1.", ".motion_encoder.convcorr1.0."),
    (".encoder.convc2.", ".motion_encoder.convcorr2.0."),
    (".encoder.convf1.", ".motion_encoder.convflow1.0."),
    (".encoder.convf2.", ".motion_encoder.convflow2.0."),
    (".encoder.conv.", ".motion_encoder.conv.0."),
    ("update_block.mask.0.", "mask_predictor.convrelu.0."),
    ("update_block.mask.2.", "mask_predictor.conv."),
]


def to_torchvision(name):
    import re

    for ours, theirs in TORCHVISION:
        name = name.replace(ours, theirs)
    name = re.sub(r"\.gru\.conv([zrq])(\d)\.", r".recurrent_block.convgru\2.conv\1.", name)
    name = re.sub(r"\.conv(\d)\.(weight|bias)", r".convnormrelu\1.0.\2", name) if ".layer" in name else name
    name = re.sub(r"\.norm(\d)\.", r".convnormrelu\1.1.", name) if ".layer" in name else name
    name = re.sub(r"^(fnet|cnet)\.conv1\.", r"\1.convnormrelu.0.", name)
    name = re.sub(r"^(fnet|cnet)\.norm1\.", r"\1.convnormrelu.1.", name)
    name = re.sub(r"^(fnet|cnet)\.conv2\.", r"\1.conv.", name)
    return name.replace("fnet.", "feature_encoder.").replace("cnet.", "context_encoder.")


def test_both_layouts_of_raft_give_the_same_network(released, tmp_path):
    state = {n.removeprefix("spynet."): t for n, t in released.items() if n.startswith("spynet.")}
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "raft-sintel.pth")
    theirs = {to_torchvision(name): tensor for name, tensor in state.items() if ".norm3." not in name}
    torch.save(theirs, tmp_path / "raft_large.pth")
    a, b = (published.load_raft(tmp_path / name) for name in ("raft-sintel.pth", "raft_large.pth"))
    assert all(map(torch.equal, a.state_dict().values(), b.state_dict().values()))


def test_torchvisions_own_raft_has_exactly_these_names():
    flow = pytest.importorskip("torchvision.models.optical_flow", reason="torchvision is not installed")
    theirs = flow.raft_large(weights=None).state_dict()
    ours = published.import_raft(theirs)
    assert torch.equal(ours.fnet.conv1.weight, theirs["feature_encoder.convnormrelu.0.weight"])


def test_the_small_raft_is_named(released):
    with pytest.raises(UserError, match="small RAFT"):
        published.import_raft({"fnet.conv2.weight": torch.zeros(128, 96, 1, 1)})


def test_what_is_saved_is_what_is_loaded(tmp_path):
    torch.manual_seed(0)
    for tanh_residual in (False, True):
        rtn, raft = RTN(8, 32, (2, 1), 2, tanh_residual), RAFT()
        checkpoint.save_safetensors(pretrained.Restorer(rtn, raft).state_dict(), tmp_path / "rtn.safetensors")
        loaded = pretrained.load(tmp_path / "rtn.safetensors")
        assert loaded.rtn.options == rtn.options
        assert all(map(torch.equal, loaded.rtn.state_dict().values(), rtn.state_dict().values()))
        assert torch.equal(loaded.raft.fnet.conv2.bias, raft.fnet.conv2.bias)


def test_the_discriminator_keeps_the_old_hooks_vectors():
    shapes = {"conv.8.weight": (128, 128, 3, 5, 5), "conv.8.bias": (128,)}
    before = 3
    for index, width in ((0, 64), (2, 128), (4, 128), (6, 128)):
        shapes |= {
            f"conv.{index}.weight_orig": (width, before, 3, 5, 5),
            f"conv.{index}.weight_u": (width,),
            f"conv.{index}.weight_v": (before * 75,),
        }
        before = width
    state = filled(shapes)
    model = published.import_discriminator(state)
    assert torch.equal(model.conv[2].parametrizations.weight[0].v, state["conv.2.weight_v"])
    del state["conv.4.weight_u"]
    with pytest.raises(UserError, match="missing"):
        published.import_discriminator(state)
