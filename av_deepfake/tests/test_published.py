"""Published layouts both ways, and files that are none: strict, never a silent partial load. Numbers: ``test_golden``."""

import pytest
import torch

from av_deepfake.models.audio import MelEncoder, WaveformEncoder
from av_deepfake.models.frontend import VideoFrontend
from av_deepfake.models.mstcn import MouthTCN
from av_deepfake.models.transformer import PublishedEncoder
from av_deepfake.published import export_published, import_published
from shared_utils import UserError

WIDTHS = {"widths": (8, 12), "blocks": (1, 2)}


def networks():
    return {
        "lips": MouthTCN(width=6, kernels=(3, 5), layers=2, channels=8, **WIDTHS),
        "frontend": VideoFrontend(8, **WIDTHS),
        "waveform": WaveformEncoder((4, 6, 8, 10), (1, 1, 2, 1)),
        "mel": MelEncoder(**WIDTHS),
        "transformer": PublishedEncoder(8, 12, 6, 3, 16, 2, dim_head=64),
    }


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("layout", ["lips", "frontend", "waveform", "mel", "transformer"])
def test_what_is_exported_is_imported_again(layout, tmp_path):
    network = networks()[layout]
    torch.save(export_published(network), tmp_path / "published.pth")
    published = import_published(tmp_path / "published.pth")
    assert published.layout == layout and not published.left_out and not published.content.training
    assert equal(network.state_dict(), published.content.state_dict())
    assert f"{len(network.state_dict())} entries used" in str(published)


@pytest.mark.parametrize("option", [{"grid": 2}, {"stem_pooling": False}])
def test_a_front_end_without_published_form_is_not_written_as_one(option):
    with pytest.raises(UserError, match="no published form .* --to pretrained"):
        export_published(VideoFrontend(8, **WIDTHS, **option))


@pytest.mark.parametrize("wrapper", ["model", "model_state_dict", "state_dict"])
def test_wrappers_and_prefixes_are_taken_off(wrapper):
    state = export_published(networks()["lips"])["model"]
    state = {f"module.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    published = import_published({"epoch": 3, "best_prec": 0.5, wrapper: state})
    assert published.layout == "lips" and "1 class: positive means fake" in str(published)


def test_another_temporal_network_leaves_the_front_end_and_says_so():
    state = export_published(networks()["frontend"])
    state |= {"tcn.dense.0.weight": torch.zeros(2), "tcn.tcn_output.weight": torch.zeros(500, 2)}
    published = import_published({"model_state_dict": state})
    assert published.layout == "frontend" and len(published.left_out) == 2
    assert "left out: 2 entries (tcn.dense, tcn.tcn_output)" in str(published)


def test_a_network_without_slopes_has_swish():
    network = MouthTCN(width=6, kernels=(3, 5), layers=2, channels=8, **WIDTHS, activation="swish")
    published = import_published(export_published(network))
    assert "taken for swish" in str(published) and published.content.config["activation"] == "swish"
    assert equal(network.state_dict(), published.content.state_dict())


def test_the_audio_model_of_the_lip_reading_zoo_is_its_trunk():
    network = networks()["waveform"]
    state = {f"trunk.{name}": value for name, value in network.state_dict().items()}
    published = import_published({"model_state_dict": state | {"tcn.tcn_output.bias": torch.zeros(500)}})
    assert published.layout == "waveform" and published.left_out == ["tcn.tcn_output.bias"]
    assert equal(network.state_dict(), published.content.state_dict())


def test_missing_unexpected_and_broken_entries_are_named():
    state = export_published(networks()["lips"])["model"]
    name = "trunk.layer2.1.conv1.weight"
    with pytest.raises(UserError, match=r"missing: trunk\.layer2\.1\.conv1\.weight"):
        import_published({key: value for key, value in state.items() if key != name})
    with pytest.raises(UserError, match=r"unexpected: tcn\.attention\.weight"):
        import_published({**state, "tcn.attention.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=rf"lips\.pth: {name} holds values that are not finite"):
        import_published({**state, name: torch.full_like(state[name], torch.nan)}, name="lips.pth")
    with pytest.raises(UserError, match=r"not the whole of a network of front-end.*tcn_output"):
        import_published({key: value for key, value in state.items() if "tcn_output" not in key})


def test_strangers_are_told_from_what_is_known(tmp_path):
    with pytest.raises(UserError, match=r"no known layout \(it begins with backbone.weight\).*LipForensics"):
        import_published({"backbone.weight": torch.zeros(1)})
    with pytest.raises(UserError, match=r"holds no state dict \(it holds: epoch\)"):
        import_published({"epoch": 3})
    with pytest.raises(UserError, match="holds no state dict"):
        import_published([1, 2])  # type: ignore[arg-type]
    torch.save(networks()["lips"], tmp_path / "whole.pth")
    with pytest.raises(UserError, match="only running code of the file could make"):
        import_published(tmp_path / "whole.pth")
