"""The detector: every source of ``load``, what it scores, and that nothing random is ever returned."""

import numpy as np
import pytest
import torch

from ict_deepfake import pretrained
from ict_deepfake.faces.alignment import Alignment
from ict_deepfake.metrics import Calibration
from ict_deepfake.models.ict import ICT
from ict_deepfake.pretrained import Detector, load
from ict_deepfake.published import export_ict, export_retinaface
from ict_deepfake.references import empty
from shared_utils import UserError, checkpoint

SMALL = {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 1}


def crops(count=5, seed=0):
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (20 + row, 20 + row, 3), dtype=np.uint8) for row in range(count)]


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return Detector(ICT(**SMALL), Alignment().scaled(40), Calibration("logistic", (1.0,), (-2.0,), "validation"))


def same(first, second):
    return torch.equal(torch.stack(first.embed(crops())), torch.stack(second.embed(crops())))


def test_embeddings_are_in_order_whatever_the_batch(detector):
    inner, outer = detector.embed(crops(), batch_size=2)
    again = detector.train().embed(crops()[::-1])
    assert detector.training and inner.shape == (5, 32)
    torch.testing.assert_close(again.inner.flip(0), inner, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.outer.flip(0), outer, atol=1e-5, rtol=1e-5)
    assert detector.embed([]).inner.shape == (0, 32)


def test_an_exported_folder_keeps_alignment_and_calibration(detector, tmp_path):
    detector.save_pretrained(tmp_path / "model")
    for source in (tmp_path / "model", tmp_path / "model" / "model.safetensors"):
        again = load(source)
        assert same(again, detector) and again.alignment == detector.alignment
        assert again.calibration == detector.calibration and again.digest == detector.digest


def test_runs_and_checkpoints_of_training_are_loaded(detector, tmp_path):
    state = {f"model.{name}": value for name, value in detector.model.state_dict().items()}
    content = {"state_dict": {**state, "head.kernel": torch.zeros(32, 3)}, "epoch": 1}
    content["hyper_parameters"] = {"detector": detector.describe()}
    checkpoint.save(content, tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt")
    for source in (tmp_path / "runs", tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt"):
        assert same(load(source), detector) and not load(source).training
    checkpoint.save({**content, "state_dict": {"head.kernel": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no entry that begins with 'model.'"):
        load(tmp_path / "other.ckpt")
    content["hyper_parameters"] = {"detector": {"model": {"sides": 3}}}
    checkpoint.save(content, tmp_path / "odd.ckpt")
    with pytest.raises(UserError, match=r"odd\.ckpt does not describe a detector"):
        load(tmp_path / "odd.ckpt")


def test_the_published_file_is_loaded_with_the_published_alignment(detector, tmp_path):
    torch.save(export_ict(detector.model), tmp_path / "ICT_Base.pth")
    again = load(tmp_path / "ICT_Base.pth")
    assert same(again, detector) and again.alignment == Alignment() and again.calibration is None
    torch.save(export_retinaface(pretrained_retinaface()), tmp_path / "face.pth")
    with pytest.raises(UserError, match="a RetinaFace detector, not a detector of swaps"):
        load(tmp_path / "face.pth")


def pretrained_retinaface():
    from ict_deepfake.models.retinaface import RetinaFace

    return RetinaFace("mobile0.25")


def test_a_missing_checkpoint_is_an_error_and_never_a_random_network(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"nowhere\.pth not found"):
        load(tmp_path / "nowhere.pth")
    with pytest.raises(UserError, match="no good checkpoint in"):
        load(tmp_path)
    monkeypatch.setattr(pretrained, "BUNDLED", tmp_path / "weights")
    with pytest.raises(UserError, match=r"the bundled model .* is missing"):
        load()
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="cut"):
        load(tmp_path / "cut.pth")


def test_weights_that_do_not_fit_their_config_are_refused(detector, tmp_path):
    detector.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"depth": 1', '"depth": 2'))
    with pytest.raises(UserError, match=r"missing: blocks\.1"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="does not describe a detector"):
        load(tmp_path)


def test_scores_with_references_name_both_faces(detector):
    embeddings = detector.embed(crops())
    references = empty(detector.digest)
    for row in range(4):
        references = references.add(f"person {row}", type(embeddings)(*(part[row : row + 1] for part in embeddings)))
    plain, found = detector.score(crops()), detector.score(crops(), references)
    np.testing.assert_array_equal(plain["consistency"], found["consistency"])
    assert set(plain) == {"consistency", "probability"}
    np.testing.assert_allclose(plain["probability"], 1 / (1 + np.exp(2 - plain["consistency"])), rtol=1e-6)
    assert found["inner_name"][:4].tolist() == found["outer_name"][:4].tolist() == [f"person {row}" for row in range(4)]
    assert found["inner_match"][:4].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found["inner_distance"][:4], 0, atol=1e-5)
    expected = sum(found[f"w{part}"] * found[f"d{part}"] for part in (1, 2, 3))
    np.testing.assert_allclose(found["reference"], expected, rtol=1e-5)
    assert all(len(values) == 5 for values in found.values())


def test_without_a_calibration_there_is_no_probability(detector):
    assert set(Detector(detector.model).score(crops())) == {"consistency"}


def test_references_of_another_model_are_refused(detector):
    references = empty("0123456789abcdef").add("a", detector.embed(crops(1)))
    with pytest.raises(UserError, match="built with another model"):
        detector.score(crops(), references)
    with pytest.raises(UserError, match="references of length 8 cannot be compared with embeddings of length 32"):
        detector.score(crops(), empty().add("a", type(detector.embed([]))(torch.zeros(1, 8), torch.zeros(1, 8))))
    with pytest.raises(UserError, match="empty"):
        detector.score(crops(), empty())
