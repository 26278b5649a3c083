"""What a step minimises, which parts are trained, and how fast."""

import math

import numpy as np
import pytest
import torch
from small_training import AUDIO, VIDEO

from av_deepfake.losses import Queue, Temperature, symmetric_infonce
from av_deepfake.models.branches import AudioVisual, Detector
from av_deepfake.objective import Agreement, Frozen, Recipe, TalkingBatch, detection_loss, normalised, parameter_groups
from shared_utils import UserError


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(0)
    return AudioVisual({**VIDEO, "dropout": 0.0}, {**AUDIO, "dropout": 0.0}, 8)


def batch(n=4, windows=2):
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 255, (n, 25, 16, 16), np.uint8))
    sound = torch.from_numpy(rng.uniform(-1, 1, (n, windows, 100, 80)).astype(np.float32))
    return TalkingBatch(pictures, sound, torch.arange(n))


def test_pictures_are_read_as_lipforensics_reads_them():
    pixel = normalised(torch.full((1, 1, 1, 1), 128, dtype=torch.uint8))
    assert pixel.shape == (1, 1, 1, 1, 1) and float(pixel) == pytest.approx((128 / 255 - 0.421) / 0.165)


def test_the_loss_is_that_of_the_rows_with_shifted_windows_as_columns(pair):
    given = batch()
    pair.eval()
    terms = Agreement(temperature=0.1).terms(pair, given)
    rows = pair.embed_video(normalised(given.pictures)).clip
    sound = [pair.embed_audio(given.sound[:, k].unsqueeze(1)).clip for k in (0, 1)]
    assert torch.allclose(terms["loss"], symmetric_infonce(rows, sound[0], 0.1, sound[1][:, None]), atol=1e-5)
    assert set(terms) == {"loss", "contrast", "top1_va", "top1_av", "spread"}


def test_a_learned_temperature_and_a_queue_come_in_and_have_gradients(pair):
    pair.train()
    temperature, given = Temperature(0.07), batch()
    width = pair.embed_video(normalised(given.pictures)).clip.shape[1]
    queue = Queue(8, width)
    queue.push(torch.randn(4, width), torch.randn(4, width), torch.arange(100, 104))
    objective = Agreement(learned=True, frame_weight=0.5)
    found = objective.terms(pair, given, temperature=temperature, queue=queue)
    found["loss"].backward()
    assert temperature.log_scale.grad is not None and float(temperature.log_scale.grad) != 0
    assert float(found["loss"].detach()) == pytest.approx(float(found["contrast"] + 0.5 * found["frames"]), abs=1e-5)
    alone = objective.terms(pair, given, temperature=temperature)
    assert float(found["contrast"]) > float(alone["contrast"])  # more columns to tell apart


@pytest.mark.parametrize(
    ("unfreeze", "trained"),
    [
        ("head_only", {"head"}),
        ("none", {"head"}),
        ("encoder", {"head", "encoder"}),
        ("last_stage", {"head", "encoder", "frontend.trunk.layer2"}),
        ("all", {"head", "encoder", "frontend.trunk.layer2", "frontend.trunk.layer1", "frontend.frontend3D"}),
    ],
)
def test_only_the_parts_that_are_asked_for_are_trained(unfreeze, trained):
    model = Detector(**VIDEO)
    Frozen(model, unfreeze)
    found = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found == {
        name for name, _ in model.named_parameters() if any(name.startswith(f"{part}.") for part in trained)
    }


def test_frozen_parts_keep_their_statistics_in_training_mode():
    model = Detector(**VIDEO)
    frozen = Frozen(model, "encoder")
    before = {name: value.clone() for name, value in model.frontend.state_dict().items()}
    model.train()
    frozen.keep()
    assert model.encoder.training and not any(part.training for part in model.frontend.trunk.layer1.modules())
    groups = parameter_groups(model, Recipe(1e-2))
    optimizer = Recipe(1e-2).optimizer(groups)
    for _ in range(2):
        loss = detection_loss(model(torch.randn(4, 1, 25, 16, 16)), torch.tensor([0.0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = model.frontend.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_lower_parts_have_lower_rates():
    model = Detector(**VIDEO)
    Frozen(model, "all")
    groups = parameter_groups(model, Recipe(1.0), layer_decay=0.5)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    found = [
        rate[id(part.weight)] for part in (model.head, model.encoder.project, model.frontend.trunk.layer1[0].conv1)
    ]
    assert found == [1.0, 1.0, 0.25] and rate[id(model.frontend.frontend3D[0].weight)] == 0.125
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_matrices_decay_and_norms_and_biases_do_not():
    model = Detector(**VIDEO)
    for group in Recipe().groups(model.parameters()):
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_an_adjusted_loss_asks_less_of_the_frequent_class():
    logits, label = torch.tensor([0.3, -0.2]), torch.tensor([1.0, 0.0])
    adjusted = detection_loss(logits, label, fakes=0.8)
    assert float(adjusted) == pytest.approx(float(detection_loss(logits + math.log(4), label)))
    assert torch.equal(detection_loss(logits, label), detection_loss(logits, label, fakes=0.5))


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_rate_rises_and_falls_once(decay):
    shares = [Recipe(1.0, warmup=0.25, decay=decay).factor(step / 100) for step in range(101)]
    assert shares[25] == max(shares) == pytest.approx(1) and shares[100] == pytest.approx(0, abs=1e-6)
    assert shares[:26] == sorted(shares[:26]) and shares[25:] == sorted(shares[25:], reverse=True)
    assert Recipe(decay="none").factor(0.9) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(rate=0), "above 0"),
        (lambda: Agreement(temperature=0.001), "0.01 or more"),
        (lambda: Agreement(queue=-1), "0 or more"),
        (lambda: Recipe().optimizer([]), "model.unfreeze"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
