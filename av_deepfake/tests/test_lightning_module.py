"""Both trainings through Lightning: what is logged, what stays frozen, resumption, what is refused."""

import pytest
import torch
from small_training import VIDEO, detection, forged, pretraining, talking, trainer

from av_deepfake import lightning_module
from av_deepfake.objective import Agreement
from av_deepfake.pretrained import load
from shared_utils import UserError
from shared_utils.callbacks import RandomState


@pytest.fixture(scope="module")
def mouths():
    """Recordings are drawn once."""
    data = talking()
    assert len(data.mouths.frames) == 24 and data.held is not None and len(data.final) == 2
    return data


@pytest.fixture(scope="module")
def fakes():
    data = forged()
    assert data.held is not None and len(data.videos.keys) == 40 and len(data.final) == 2
    return data


@pytest.fixture(scope="module")
def run(mouths, tmp_path_factory):
    """A pre-training of four steps: its checkpoint and what it logged."""
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    torch.manual_seed(0)
    training = trainer()
    training.fit(pretraining(mouths), mouths)
    logged = dict(training.callback_metrics)
    training.save_checkpoint(path)
    training.test(datamodule=mouths, model=training.lightning_module, verbose=False)
    return path, logged | dict(training.callback_metrics)


def test_pre_training_logs_loss_retrieval_and_spread(run):
    logged = run[1]
    assert {"train_loss", "train_contrast", "train_top1_va", "train_spread", "val_top1_va", "val_rank"} <= set(logged)
    assert {"test_easy_top1_va", "test_hard_top1_av"} <= {name.split("/")[0] for name in logged}
    assert all(0 <= float(value) <= 1 for name, value in logged.items() if "top1" in name)


def test_a_checkpoint_says_how_its_clips_are_made_and_what_it_has_seen(run):
    model = load(run[0])
    assert model.video is not None and model.audio is not None and model.detector is None
    assert model.preprocessing["size"] == 16 and model.preprocessing["frames"] == 25
    seen = model.training_data["pretraining"]
    assert seen["videos"] == 24 and set(seen["ranges"]) == {"brightness", "contrast", "sharpness", "movement"}


@pytest.mark.parametrize("unfreeze", ["encoder", "head_only"])
def test_fine_tuning_leaves_the_frozen_part_bit_for_bit_as_it_was(unfreeze, run, fakes, tmp_path):
    """Parameters and the buffers of batch norm, over training, validation and training again."""
    module = detection(fakes, weights=str(run[0]), unfreeze=unfreeze)
    training = trainer(max_steps=9, check_val_every_n_epoch=1)
    training.fit(module, fakes)
    before, after = load(run[0]).video.state_dict(), module.model.state_dict()
    parts = ("frontend.",) if unfreeze == "encoder" else ("frontend.", "encoder.")
    kept = [name for name in before if name.startswith(parts)]
    assert any(name.endswith("running_mean") for name in kept) and any("num_batches" in name for name in kept)
    assert all(torch.equal(before[name], after[name]) for name in kept)
    changed = [name for name in before if not name.startswith(parts)]
    assert unfreeze == "head_only" or any(not torch.equal(before[name], after[name]) for name in changed)
    assert {"val_auc", "val_auc_A", "train_accuracy"} <= set(training.callback_metrics)
    training.save_checkpoint(tmp_path / "d.ckpt")
    facts = load(tmp_path / "d.ckpt").training_data
    assert facts["detection"]["methods"] == ["A", "B", "C", "D"] and facts["pretraining"]["videos"] == 24


def test_everything_is_trained_where_that_is_asked_for(fakes):
    module = detection(fakes, unfreeze="all", layer_decay=0.7)
    before = {name: value.clone() for name, value in module.model.state_dict().items()}
    trainer(max_steps=2, limit_val_batches=0).fit(module, fakes)
    after = module.model.state_dict()
    assert not torch.equal(before["frontend.frontend3D.0.weight"], after["frontend.frontend3D.0.weight"])
    assert not torch.equal(before["frontend.frontend3D.1.running_mean"], after["frontend.frontend3D.1.running_mean"])


def test_a_method_that_is_left_out_is_tested_beside_those_seen():
    data = forged(leave_out="C", batch_size=6)
    assert data.methods == ["A", "B", "D"] and data.held.videos.methods == ["A", "B", "D"]
    training = trainer(max_steps=1, limit_val_batches=0)
    module = detection(data)
    training.fit(module, data)
    training.test(module, data, verbose=False)
    logged = {name.split("/")[0] for name in training.callback_metrics}
    assert {"test_clean_auc_C", "test_compressed_auc_C", "test_clean_auc_seen"} <= logged


def test_an_unbalanced_set_has_its_prior():
    data = forged(balance="none")
    assert data.prior == pytest.approx(0.8) and forged().prior is None
    trainer(max_steps=1, limit_val_batches=0).fit(detection(data), data)


def begun(seed, mouths):
    """A training with a queue, a learned temperature and dropout, on recordings that are drawn already."""
    torch.manual_seed(seed)
    data = talking()
    data.mouths = mouths.mouths
    return pretraining(data, objective=Agreement(queue=16, learned=True, frame_weight=0.1)), data


@pytest.fixture(scope="module")
def unbroken(mouths):
    module, data = begun(1, mouths)
    trainer(max_steps=5, limit_val_batches=0).fit(module, data)
    return module.state_dict()


@pytest.mark.parametrize("stop", [3, 4])
def test_a_resumed_pre_training_is_the_unbroken_one_bit_for_bit(stop, unbroken, mouths, tmp_path):
    """At the end of an epoch of 3 batches, and within one."""
    path = tmp_path / "half.ckpt"
    first, data = begun(1, mouths)
    trainer(max_steps=5, limit_val_batches=0, callbacks=[StopAt(stop, path)]).fit(first, data)
    second, data = begun(5, mouths)
    again = trainer(max_steps=5, limit_val_batches=0, callbacks=[RandomState()])
    again.fit(second, data, ckpt_path=path, weights_only=True)
    for name, value in unbroken.items():
        assert torch.equal(value, second.state_dict()[name]), name


class StopAt(RandomState):
    """Saves at a step and stops there."""

    def __init__(self, step, path):
        super().__init__()
        self.step, self.path = step, path

    @property
    def state_key(self):
        return "RandomState"

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def test_collapsed_features_stop_the_training_with_a_reason(mouths, monkeypatch):
    monkeypatch.setattr(lightning_module, "_CHECKED_EVERY", 2)
    with pytest.raises(UserError, match=r"features have collapsed.*step 2.*model.recipe.rate"):
        trainer(limit_val_batches=0).fit(pretraining(mouths, collapse=5.0), mouths)


def test_the_loss_is_of_float32_under_bfloat16(mouths):
    training = trainer(max_steps=2, limit_val_batches=0, precision="bf16-mixed")
    module = pretraining(mouths)
    training.fit(module, mouths)
    assert training.callback_metrics["train_loss"].dtype == torch.float32
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: talking(batch_size=1), "2 clips"),
        (lambda: talking(speakers=0), "data.speakers 0"),
        (lambda: talking(batch_size=64).batches(), "lower data.batch_size"),
        (lambda: talking(root="nowhere").mouths, "nowhere not found"),
        (lambda: forged(leave_out="Z"), "data.leave_out Z"),
        (lambda: forged(root="nowhere").videos, "nowhere not found"),
        (lambda: lightning_module.Pretraining(audio={"kind": "waveform"}), "choose mel"),
        (lambda: lightning_module.Pretraining(video={"dim": 7}), "model.video or model.audio"),
        (lambda: lightning_module.Detection(weights=None, video={**VIDEO, "depht": 1}), "model.video.*depht"),
        (lambda: lightning_module.Detection(weights="nowhere.ckpt"), "nowhere.ckpt"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
