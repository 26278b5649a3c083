"""Training through Lightning: what is logged, what is refused, resumption, two processes."""

import math
from itertools import pairwise

import pytest
import torch
from small_training import data, module, trainer

from ict_deepfake import lightning_module
from ict_deepfake.lightning_module import Recipe
from ict_deepfake.models.ict import ICT
from ict_deepfake.objective import Objective
from ict_deepfake.pretrained import load
from shared_utils import UserError, checkpoint
from shared_utils.callbacks import RandomState


@pytest.fixture(scope="module")
def faces():
    """People are drawn once."""
    drawn = data()
    assert drawn.held is not None and len(drawn.source) == 32
    return drawn


@pytest.fixture(autouse=True)
def _checked_often(monkeypatch):
    monkeypatch.setattr(lightning_module, "_CHECKED_EVERY", 4)


@pytest.mark.parametrize("method", ["ict", "binary"])
def test_both_methods_train_and_are_scored(method, faces):
    run = trainer(max_steps=8)
    run.fit(module(faces, method=method), faces)
    logged = run.callback_metrics
    assert 0 <= float(logged["val_auc"]) <= 1 and logged["val_auc"] == logged["val_auc_blend"]
    assert {"val_auc_rerender", "val_auc_self_blend", "val_auc_reenact"} <= set(logged)


@pytest.mark.parametrize(("method", "genuine"), [("ict", 2), ("binary", 4)])
def test_the_control_sees_the_pictures_of_a_swap_as_they_were(method, genuine, faces):
    run = trainer(limit_val_batches=0, max_steps=1)
    run.fit(module(faces, method=method), faces)
    batch = next(iter(run.train_dataloader))
    assert int((~batch.swapped).sum()) == genuine
    assert bool((batch.a == batch.b)[~batch.swapped].all()) == (method == "ict")


def test_identity_terms_and_the_accuracy_of_both_tokens_are_logged(faces):
    run = trainer(max_steps=8, limit_val_batches=0)
    run.fit(module(faces), faces)
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    assert {"train_loss", "train_identity", "train_consistency", "train_spread", "margin", "lambda"} <= set(logged)
    assert 0 <= logged["train_inner_accuracy"] <= 1 and 0 <= logged["train_outer_accuracy"] <= 1
    assert logged["lambda"] == pytest.approx(1.0) and logged["margin"] == pytest.approx(0.1)


def test_the_rate_rises_and_falls_once():
    recipe = Recipe(rate=1.0, rise=0.25, start=0.04)
    shares = [recipe.factor(step / 100) for step in range(101)]
    assert shares[0] == pytest.approx(0.04) and max(shares) == shares[25] == pytest.approx(1) and shares[100] < 1e-6
    assert all(a <= b for a, b in pairwise(shares[:26]))
    assert all(a >= b for a, b in pairwise(shares[25:]))


def test_collapsed_embeddings_stop_the_training_with_a_reason(faces):
    with pytest.raises(UserError, match=r"embeddings have collapsed.*step 4.*consistency_start"):
        trainer(limit_val_batches=0).fit(module(faces, collapse=3.9), faces)


def test_a_loss_that_is_not_a_number_stops_the_training(faces):
    net = module(faces)
    with torch.no_grad():
        net.model.pos_embed.fill_(math.nan)
    with pytest.raises(UserError, match="collapsed"):
        trainer(limit_val_batches=0).fit(net, faces)


def test_a_checkpoint_loads_as_a_detector(faces, tmp_path):
    net, run = module(faces), trainer(limit_val_batches=0)
    run.fit(net, faces)
    run.save_checkpoint(tmp_path / "last.ckpt")
    detector = load(tmp_path / "last.ckpt")
    assert detector.size == 16 and detector.alignment.crop == 16
    pictures = torch.from_numpy(faces.held.images[:4].transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1
    with torch.no_grad():
        ours = net.eval()(pictures)
    assert torch.allclose(torch.from_numpy(detector.score(list(faces.held.images[:4]))["consistency"]), ours, atol=1e-5)


@pytest.mark.parametrize("stop", [4, 6])
def test_a_resumed_training_is_the_unbroken_one_bit_for_bit(stop, faces, tmp_path):
    """At the end of an epoch of 4 batches, and within one."""
    torch.manual_seed(1)
    whole = module(faces, drop_path=0.2, objective=Objective(scale=8.0, margin=0.1, sample=0.5))
    run = trainer(max_steps=10, limit_val_batches=0)
    run.fit(whole, data())

    torch.manual_seed(1)
    first = module(faces, drop_path=0.2, objective=Objective(scale=8.0, margin=0.1, sample=0.5))
    half = trainer(max_steps=10, limit_val_batches=0, callbacks=[StopAt(stop, tmp_path / "half.ckpt")])
    half.fit(first, data())
    torch.manual_seed(5)
    second = module(faces, drop_path=0.2, objective=Objective(scale=8.0, margin=0.1, sample=0.5))
    again = trainer(max_steps=10, limit_val_batches=0, callbacks=[RandomState()])
    again.fit(second, data(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


class StopAt(RandomState):
    """Saves at a step and stops there."""

    def __init__(self, step, path):
        super().__init__()
        self.step, self.path = step, path

    @property
    def state_key(self):
        return "RandomState"

    def on_train_batch_end(self, trainer, module, *rest):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def fitted(faces, path, **options):
    torch.manual_seed(1)
    net = module(faces, objective=Objective(scale=8.0, margin=0.1, sample=0.5))
    # Some gradients are nothing but rounding: of the keys' biases, and of what shifts all tokens alike, which the batch norm
    # takes off again. AdamW would make whole steps of them; and the layer norm of a small token makes them large.
    with torch.no_grad():
        for token in (net.model.cls_token, net.model.pos_embed, net.model.outer_token):
            token.mul_(20)
    net.configure_optimizers = lambda: torch.optim.SGD(net.parameters(), lr=1e-3)
    run = trainer(max_steps=5, limit_val_batches=0, **options)
    run.fit(net, data())
    run.save_checkpoint(path)
    return checkpoint.load_tensors(path), run.callback_metrics


def test_two_processes_equal_one(faces, tmp_path, monkeypatch):
    """Batch norm and Partial FC included. Begun so that tokens depend on the picture: else the batch norm enlarges rounding."""
    monkeypatch.setattr(ICT, "keeps_scale", True)
    one, logged = fitted(faces, tmp_path / "one.ckpt")
    two, logged_by_two = fitted(faces, tmp_path / "two.ckpt", strategy="ddp_fork", devices=2)
    assert any(name.endswith("running_var") for name in one["state_dict"])
    for name, value in one["state_dict"].items():
        assert torch.allclose(value.float(), two["state_dict"][name].float(), atol=5e-6), name
    for name, value in logged.items():
        assert float(value) == pytest.approx(float(logged_by_two[name]), abs=1e-5), name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data(genuine=1.0), "data.genuine 1.0"),
        (lambda: data(size=4), "16 px"),
        (lambda: data(root="nowhere", population={"private": 0.3}), "leave it out"),
        (lambda: data(population={"people": 3}), "data.population.*people"),
        (lambda: data(root="nowhere", population=None).num_classes, "nowhere not found"),
        (lambda: data(batch_size=64).batches(1), "make no batch of 64"),
        (lambda: Objective(consistency_start=0.5, consistency_full=0.2), "shares of the training"),
        (lambda: Objective(consistency=-1), "0 or more"),
        (lambda: Recipe(rate=0), "above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
