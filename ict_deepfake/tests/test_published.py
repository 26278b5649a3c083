"""Published files: recognised by their entries, there and back, and what does not fit."""

import pytest
import torch

from ict_deepfake.margin import build_head
from ict_deepfake.models.ict import ICT
from ict_deepfake.models.retinaface import RetinaFace
from ict_deepfake.published import export_ict, export_references, export_retinaface, import_published
from ict_deepfake.references import ReferenceSet
from shared_utils import UserError

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_network_goes_there_and_back(tmp_path, wrapped):
    model = ICT(**SMALL, qkv_bias=False).eval()
    content = export_ict(model, epoch=7)
    assert content["epoch"] == 7 and "bn.num_batches_tracked" in content["model"]
    if wrapped:
        content["model"] = {f"module.{name}": value for name, value in content["model"].items()}
    torch.save(content, tmp_path / "ICT_Base.pth")
    published = import_published(tmp_path / "ICT_Base.pth", num_heads=3)
    assert published.content.config == model.config and not published.content.training
    assert equal(model.state_dict(), published.content.state_dict())
    assert "img_size 16, patch_size 4, embed_dim 24, depth 2" in str(published)


def test_heads_are_32_wide_where_nobody_says_otherwise():
    model = ICT(**{**SMALL, "embed_dim": 64, "num_heads": 2})
    published = import_published(export_ict(model))
    assert published.content.config["num_heads"] == 2 and "2 heads are assumed" in str(published)
    with pytest.raises(UserError, match="say --num_heads"):
        import_published(export_ict(ICT(**SMALL)))


def test_a_convolutional_stem_is_recognised_and_not_published():
    model = ICT(**{**SMALL, "patch_size": 8}, stem="conv")
    assert import_published(model.state_dict(), num_heads=3).content.config == model.config
    with pytest.raises(UserError, match="no convolutional stem"):
        export_ict(model)


def test_the_detector_goes_there_and_back():
    network = RetinaFace("mobile0.25")
    content = export_retinaface(network)
    assert all(name.startswith("module.") for name in content)
    published = import_published(content)
    assert published.layout == "retinaface" and equal(network.state_dict(), published.content.state_dict())


def test_head_and_references_are_recognised():
    head = build_head("arcface", 8, 5)
    published = import_published(head.state_dict(), kind="arcface")
    assert published.layout == "head" and published.content.classes == 5 and published.content.kind == "arcface"
    references = ReferenceSet(["a", "b"], torch.rand(2, 4), torch.rand(2, 4))
    again = import_published(export_references(references))
    assert again.layout == "references" and torch.equal(again.content.outer, references.outer)
    assert "no names" in str(again)


def test_another_network_is_named_with_the_closest_one(tmp_path):
    torch.save({"model": {"cls_token": torch.zeros(1, 1, 384), "head.weight": torch.zeros(1)}}, tmp_path / "deit.pth")
    words = r"deit.pth has the names of no known layout\. Closest is combface_base_patch8_112: missing .*outer_token.*"
    with pytest.raises(UserError, match=words + r"unexpected head.weight"):
        import_published(tmp_path / "deit.pth")


def test_missing_unexpected_and_broken_entries_are_named():
    state = export_ict(ICT(**SMALL))["model"]
    missing = {name: value for name, value in state.items() if name != "blocks.1.attn.qkv.weight"}
    with pytest.raises(UserError, match=r"missing: blocks\.1\.attn\.qkv\.weight"):
        import_published(missing, 3)
    with pytest.raises(UserError, match=r"unexpected: extra\.weight"):
        import_published({**state, "extra.weight": torch.zeros(1)}, 3)
    with pytest.raises(UserError, match=r"not a whole Identity Consistency Transformer\. Closest is .*missing"):
        import_published({name: value for name, value in state.items() if not name.startswith("blocks")}, 3)
    with pytest.raises(UserError, match="pos_embed has 17 rows, not those of a square"):
        import_published({**state, "pos_embed": state["pos_embed"][:, :-1]}, 3)
    with pytest.raises(UserError, match=r"norm\.bias holds values that are not finite"):
        import_published({**state, "norm.bias": torch.full((24,), torch.nan)}, 3)
    with pytest.raises(UserError, match=r"holds no state dict \(it holds: epoch\)"):
        import_published({"epoch": 3})
    with pytest.raises(UserError, match="holds no state dict"):
        import_published([1, 2], name="numbers")
