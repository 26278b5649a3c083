"""The mouth model: every source of ``load``, what it scores, and that an untrained part is named."""

import numpy as np
import pytest
import torch
from small_model import SMALL, crops, small_model

from av_deepfake.calibration import Calibration
from av_deepfake.models.branches import VideoBranch
from av_deepfake.models.mstcn import MouthTCN
from av_deepfake.pretrained import MouthModel, from_description, import_file, join, load
from av_deepfake.published import export_published
from shared_utils import UserError, checkpoint, files


def clips(count=3, frames=25):
    return np.stack([crops(frames, seed) for seed in range(count)])


def same(first, second):
    return np.array_equal(first.score(clips()), second.score(clips()))


def run(model, folder):
    """A run of the fine-tuning, or of the pre-training, as Lightning writes it."""
    facts = model.describe()
    facts |= {"video": None, "audio": None} if model.detector is not None else {"detector": None}
    state = {f"model.{name}": value for name, value in (model.detector or model.agreement).state_dict().items()}
    content = {"state_dict": {**state, "temperature.log_scale": torch.zeros(())}}
    content["hyper_parameters"] = {"mouth_model": facts}
    checkpoint.save(content, folder / "version_0" / "checkpoints" / "last.ckpt")
    return folder


def test_an_exported_folder_keeps_everything(tmp_path):
    model = small_model()
    model.calibration = Calibration("logistic", (1.0,), (-2.0,), "validation")
    model.save_pretrained(tmp_path / "model")
    for source in (tmp_path / "model", tmp_path / "model" / "model.safetensors"):
        again = load(source)
        assert same(again, model) and again.describe() == model.describe() and again.digest == model.digest
        assert not again.training


def test_a_shared_front_end_is_stored_once(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path / "apart")
    model.detector.frontend.load_state_dict(model.video.frontend.state_dict())
    model.save_pretrained(tmp_path / "shared")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("apart", "shared")]
    assert sizes[1] < sizes[0] and same(load(tmp_path / "shared"), model)


def test_runs_of_both_trainings_are_loaded_and_joined(tmp_path):
    tuned = load(run(small_model(agreement=False), tmp_path / "tuned"))
    assert tuned.video is None and same(tuned, small_model(agreement=False))
    paired = load(run(small_model(detector=False), tmp_path / "paired"))
    assert paired.detector is None and paired.audio is not None
    both = join(paired, tuned)
    assert same(both, tuned) and both.audio is paired.audio
    with pytest.raises(UserError, match="the first model has no audio branch"):
        join(tuned, tuned)
    with pytest.raises(UserError, match="the second has no detector"):
        join(paired, paired)
    with pytest.raises(UserError, match="size 24 for the branches, 20 for the detector"):
        join(paired, small_model(agreement=False, size=20))


@pytest.mark.parametrize("classes", [1, 5])
def test_published_networks_become_models(tmp_path, classes):
    torch.manual_seed(0)
    network = MouthTCN(classes, 4, (3, 5), 2, channels=4, widths=(4, 6), blocks=(1, 1)).eval()
    torch.save(export_published(network), tmp_path / "lips.pth")
    found = import_file(tmp_path / "lips.pth", tmp_path / "model")
    model = load(tmp_path / "model")
    assert model.preprocessing["variant"] == "2020" and model.preprocessing["size"] == 88
    assert model.fresh == ("branch.encoder",)
    pictures = model.normalised(clips(2))
    with torch.no_grad():
        torch.testing.assert_close(model.video.features(pictures), network.features(pictures))
        if classes == 1:
            np.testing.assert_allclose(model.score(clips(2)), network(pictures)[:, 0].numpy(), atol=1e-5)
            assert same(load(tmp_path / "lips.pth"), model) and "and the logit" in found
        else:
            assert model.detector is None and "left out: the head of the word reader" in found
            with pytest.raises(UserError, match="no detector yet: fine-tune it"):
                model.score(clips(1))


def test_what_the_networks_see_is_the_middle_of_the_training_crop():
    model = small_model()
    given = np.arange(26 * 26, dtype=np.uint8).reshape(1, 1, 26, 26)
    assert np.array_equal(model.prepared(given), given[..., 1:25, 1:25])
    assert model.prepared(clips()).shape == (3, 25, 24, 24)
    value = (float(model.prepared(given)[0, 0, 0, 0]) / 255 - 0.421) / 0.165
    assert model.normalised(given)[0, 0, 0, 0, 0] == pytest.approx(value, abs=1e-5)


def test_frames_that_do_not_count_do_not_change_a_score():
    model, valid = small_model(), np.arange(25)[None] < 15
    given = clips(1)
    changed = given.copy()
    # The 3-D convolution reaches two frames back.
    changed[:, 17:] = 0
    assert np.array_equal(model.score(given, valid), model.score(changed, valid))
    assert model.score(given[:0]).shape == (0,)


def test_silent_videos_are_scored_and_have_no_offset():
    model, pictures = small_model(), crops(50)
    assert np.isfinite(model.score(pictures[None, :25])).all()
    silent = model.synchrony(pictures, np.zeros(50 * 640, np.float32))
    assert silent.offset is None and silent.text == "undetermined: the sound is silent"
    for samples, frames, reason in ((np.ones(10), 50, "the sound lasts 0.0 s"), (np.ones(6400), 10, "has 10 frames")):
        assert reason in model.synchrony(pictures[:frames], samples).undetermined
    with pytest.raises(UserError, match="no audio branch"):
        small_model(agreement=False).synchrony(pictures, np.ones(32000))


def test_bad_sources_are_refused(tmp_path):
    checkpoint.save(
        {"state_dict": {"other": torch.zeros(1)}, "hyper_parameters": {"mouth_model": {}}}, tmp_path / "a.ckpt"
    )
    with pytest.raises(UserError, match="no entry that begins with 'model.'"):
        load(tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="does not describe a mouth model"):
        from_description({"preprocessing": {}}, "it")
    with pytest.raises(UserError, match="not found"):
        load(tmp_path / "missing.ckpt")
    model = small_model()
    model.save_pretrained(tmp_path / "model")
    state = checkpoint.load_tensors(tmp_path / "model" / "model.safetensors")
    state.pop("detector.head.bias")
    checkpoint.save_safetensors(state, tmp_path / "model" / "model.safetensors")
    with pytest.raises(UserError, match=r"1 missing: detector\.head\.bias"):
        load(tmp_path / "model")
    files.write_json([], tmp_path / "model" / "config.json")
    with pytest.raises(UserError, match="does not describe a mouth model"):
        load(tmp_path / "model")


def test_a_branch_alone_is_kept(tmp_path):
    branch = VideoBranch(**{**SMALL, "channels": 4, "widths": (4, 4), "blocks": (1, 1)})
    MouthModel(None, branch, preprocessing={"size": 24}).save_pretrained(tmp_path)
    again = load(tmp_path)
    assert again.audio is None and torch.equal(again.video.encoder.positions, branch.encoder.positions)
