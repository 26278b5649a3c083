"""Pre-training and fine-tuning through Lightning: what is logged, what is refused, two processes, mixed precision."""

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from small_training import data, module, trainer
from torch import nn
from torch.multiprocessing import ProcessRaisedException
from torch.nn.functional import normalize

from luperson_nl.data.finetuning import FinetuningData
from luperson_nl.data.viewing import Retrieval
from luperson_nl.lightning_module import FinetuningModule, check_retrieval
from luperson_nl.pnl import METHODS, Prototypes, Stages
from luperson_nl.recipes import Recipe
from shared_utils import UserError

ADAM = Recipe(optimizer="adam", learning_rate=1e-3, weight_decay=5e-4, bias_lr_factor=2.0)


@pytest.fixture(scope="module")
def crops():
    """The crops are drawn once."""
    return data()


@pytest.fixture(scope="module")
def persons():
    street = {"persons": 8, "cameras": 2, "clip": [2, 3]}
    return FinetuningData(size=(48, 16), padding=2, batch_size=8, street=street, held=6)


def finetuning(persons, **options):
    facts = {"num_classes": persons.num_classes, "size": persons.size, "mean": persons.mean, "std": persons.std}
    return FinetuningModule(**{"trunk": "resnet_mini", "recipe": ADAM, **facts, **options})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_scored(method, crops):
    recipe = Recipe(optimizer="lars", learning_rate=1.0) if method in ("simclr", "supcon") else Recipe()
    run = trainer(limit_train_batches=2)
    run.fit(module(crops, method=method, recipe=recipe), crops)
    logged = run.callback_metrics
    assert 0 < float(logged["val_mAP"]) <= 100 and torch.isfinite(logged["train_loss"])
    assert ("labels_right_person" in logged) == ("train_proto" in logged) == (method == "pnl")


def test_statistics_of_the_correction_are_logged(crops):
    run = trainer(max_epochs=2, limit_val_batches=0)
    net = module(crops)
    run.fit(net, crops)
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    assert 0 < logged["labels_changed"] <= 1 and 0 < logged["labels_confident"] <= 1
    assert {"labels_right_person_before", "labels_canonical", "labels_precision"} <= set(logged)
    assert logged["labels_entropy"] > 0 and logged["labels_drift"] > 0
    assert logged["labels_unseen"] == net.model.objective.prototypes.num_unseen()


def test_a_checkpoint_says_what_its_network_is(crops):
    content = {}
    module(crops).on_save_checkpoint(content)
    assert content["hyper_parameters"]["embedder"]["trunk"] == "resnet_mini"
    assert content["hyper_parameters"]["embedder"]["size"] == [32, 16]


class FrozenNorms(nn.Module):
    """Mixed into a training: batch norm keeps its statistics, so that they don't depend on how batches are shared."""

    def on_train_batch_start(self, batch, batch_index):
        for layer in self.model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()


def fit_frozen(place, goes_on_from=None, processes=1, **options):
    """Two epochs of four batches, with the prototypes reset between them; the checkpoint of each epoch, and what was logged."""
    torch.manual_seed(1)
    crops = data()
    net = module(crops, queue_size=16, prototype_reset_epoch=1, **options)
    net.__class__ = type("Frozen", (FrozenNorms, net.__class__), {})
    kept = ModelCheckpoint(place, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    several = {"strategy": "ddp_fork", "devices": processes} if processes > 1 else {}
    settings = {"limit_val_batches": 0, "limit_train_batches": 4, "enable_checkpointing": True, "callbacks": [kept]}
    run = trainer(max_epochs=2, **settings, **several)
    run.fit(net, crops, ckpt_path=goes_on_from)
    return torch.load(place / "epoch=1.ckpt", weights_only=True), run.callback_metrics


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Two epochs on one process: the folder of its checkpoints, the last of them, and what was logged."""
    place = tmp_path_factory.mktemp("alone")
    return place, *fit_frozen(place)


def check_same(found, expected):
    """Weights, queue, prototypes and momenta."""
    for name, value in expected["state_dict"].items():
        assert torch.allclose(value, found["state_dict"][name], atol=1e-5), name
    for state, other in zip(expected["optimizer_states"], found["optimizer_states"], strict=True):
        for place, own in state["state"].items():
            assert torch.allclose(own["momentum_buffer"], other["state"][place]["momentum_buffer"], atol=1e-5), place
    assert torch.allclose(expected["labels"]["begun"], found["labels"]["begun"], atol=1e-5)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """The same on two processes that split the classes."""
    place = tmp_path_factory.mktemp("split")
    return place, *fit_frozen(place, processes=2, classifier_sharding="partial_fc")


@pytest.mark.parametrize("split_classes", [False, True])
def test_two_processes_equal_one(alone, tmp_path, split_classes, request):
    _, one, logged = alone
    found = request.getfixturevalue("split")[1:] if split_classes else fit_frozen(tmp_path, processes=2)
    two, logged_by_two = found
    assert two["state_dict"]["model.num_steps"] == 8
    check_same(two, one)
    assert set(logged) == set(logged_by_two) and "labels_precision" in logged
    for name, value in logged.items():
        assert float(value) == pytest.approx(float(logged_by_two[name]), abs=1e-4), name


def test_split_classes_go_on_on_another_number_of_processes(alone, split, tmp_path):
    for (begun, *_), processes in ((split, 1), (alone, 2)):
        place = begun / "epoch=0.ckpt"
        found, _ = fit_frozen(tmp_path / f"{processes}", place, processes, classifier_sharding="partial_fc")
        check_same(found, alone[1])


def test_prototypes_become_the_means_of_the_epoch_before(crops, monkeypatch):
    seen, resets = [], []
    update, become_means = Prototypes.update, Prototypes.become_means
    monkeypatch.setattr(Prototypes, "update", lambda self, *new: seen.append(new) or update(self, *new))

    def watched(self):
        before = self.rows.clone()
        become_means(self)
        resets.append((before, self.rows.clone(), len(seen)))

    monkeypatch.setattr(Prototypes, "become_means", watched)
    run = trainer(limit_val_batches=0, limit_train_batches=3, max_epochs=4)
    run.fit(module(crops, prototype_reset_epoch=2), crops)
    ((before, after, count),) = resets
    assert count == 6
    queries, labels = (torch.cat(parts) for parts in zip(*seen[3:6], strict=True))
    for label in range(crops.num_classes):
        own = queries[labels == label]
        expected = normalize(own.mean(0), dim=0) if len(own) else before[label]
        torch.testing.assert_close(after[label], expected, rtol=0, atol=1e-5)


def test_a_reset_of_prototypes_goes_on_within_the_epoch_before(crops, tmp_path):
    halfway = {"every_n_train_steps": 4, "save_top_k": -1}  # in the second epoch of three batches
    states = []
    for source in (None, tmp_path / "0" / "step=4.ckpt"):
        torch.manual_seed(1)
        kept = ModelCheckpoint(tmp_path / f"{len(states)}", "{step}", **halfway)
        settings = {"limit_val_batches": 0, "limit_train_batches": 3, "enable_checkpointing": True}
        net, mine = module(crops, prototype_reset_epoch=2), data()
        mine.__dict__["crops"] = crops.crops
        trainer(max_epochs=3, callbacks=[kept], **settings).fit(net, mine, ckpt_path=source)
        states.append(net.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_what_split_classes_cannot_do_is_refused(crops):
    split = {"classifier_sharding": "partial_fc"}
    with pytest.raises(UserError, match="lars takes norms of whole tensors"):
        module(crops, recipe=Recipe(optimizer="lars"), **split)
    with pytest.raises(UserError, match="prototype_reset_epoch 0 with method pnl: give 1 or more"):
        module(crops, prototype_reset_epoch=0)
    with pytest.raises(UserError, match="prototype_reset_epoch 3 with method moco"):
        module(crops, prototype_reset_epoch=3, method="moco")
    with pytest.raises(ProcessRaisedException, match="gradient_clip_val would be of a part of the classes"):
        trainer(strategy="ddp_fork", devices=2, gradient_clip_val=1.0).fit(module(crops, **split), crops)


def test_bfloat16_agrees_with_float32(crops):
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        torch.manual_seed(1)
        run = trainer(limit_val_batches=0, max_steps=1, precision=precision)
        run.fit(module(crops), crops)
        losses.append(float(run.callback_metrics["train_loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


@pytest.mark.parametrize("kind", ["bot", "agw", "mgn"])
def test_fine_tuning_trains_and_is_scored(kind, persons):
    run = trainer(limit_train_batches=2)
    run.fit(finetuning(persons, kind=kind, options={"extra_bn": True}), persons)
    logged = run.callback_metrics
    assert 0 < float(logged["val_mAP"]) <= 100 and torch.isfinite(logged["train_loss"])


def test_a_frozen_trunk_stays_as_it_is_and_then_learns(persons):
    net = finetuning(persons, freeze_epochs=1)
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    trainer(limit_val_batches=0).fit(net, persons)
    after = net.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and not any(name.startswith("backbone.") for name in moved)
    trainer(limit_val_batches=0).fit(net, persons)
    assert not any(name.startswith("backbone.") for name in moved)  # frozen again: it is the first epoch of a training
    net.freeze_epochs = 0
    trainer(limit_val_batches=0).fit(net, persons)
    assert not torch.equal(before["backbone.conv1.weight"], net.model.state_dict()["backbone.conv1.weight"])
    assert not torch.equal(before["backbone.bn1.running_mean"], net.model.state_dict()["backbone.bn1.running_mean"])


def test_biases_have_a_rate_of_their_own(persons):
    groups = ADAM.build(finetuning(persons).model).param_groups
    assert [group["lr"] for group in groups] == [1e-3, 2e-3]


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"queue_size": 4}, {}, "queue"),
        ({"method": "moco"}, {"views": ["weak"]}, "compares two views"),
        ({}, {"batch_size": 64}, "make no batch of 64"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_the_start(options, settings, message, crops):
    mine = data(**settings)
    mine.__dict__["crops"] = crops.crops
    with pytest.raises(UserError, match=message):
        trainer().fit(module(crops, **options), mine)


def test_synchronised_batch_norm_is_refused(crops):
    with pytest.raises(UserError, match="sync_batchnorm"):
        trainer(strategy="ddp", devices=1, sync_batchnorm=True).fit(module(crops), crops)
    torch.distributed.destroy_process_group()


def test_correction_without_prototypes_is_refused():
    with pytest.raises(UserError, match="correction.*prototypes"):
        Stages(prototypes=None, correction=3)


def test_persons_that_one_camera_saw_are_refused():
    images = np.zeros((4, 8, 4, 3), np.uint8)
    with pytest.raises(UserError, match="none of the 2 queries"):
        check_retrieval(Retrieval(images, np.array([1, 2, 1, 2]), np.ones(4, int), 2))
    check_retrieval(Retrieval(images, np.array([1, 2, 1, 2]), np.array([1, 1, 1, 2]), 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data(views=[]), "data.views"),
        (lambda: data(strong="original"), "'original' is unknown"),
        (lambda: data(statistics="mars"), "'mars' is unknown"),
        (lambda: data(street={"people": 3}), "people"),
        (lambda: data(root="nowhere").num_classes, "nowhere"),
        (lambda: FinetuningData(split="id:7"), "id:7"),
        (lambda: FinetuningData(root="nowhere").num_classes, "nowhere"),
        (lambda: Recipe(learning_rate=0), "must be positive"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
