"""Twenty steps of PNL against the published order of steps, written out plainly."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from luperson_nl.pnl import PNL, Stage

SETTINGS = {
    "dim": 8,
    "cls_dim": 12,
    "queue_size": 20,
    "temperature": 0.1,
    "key_momentum": 0.9,
    "prototype_momentum": 0.8,
    "threshold": 0.15,
    "instance_weight": 0.4,
    "prototype_weight": 0.7,
    "hidden": 16,
}
STAGES = [Stage(), Stage(prototypes=True), Stage(prototypes=True, correction=True), Stage(True, True, True, True)]


def batches(count, size=8, classes=7):
    draw = torch.Generator().manual_seed(3)
    for _ in range(count):
        images = torch.randn(2, size, 3, 32, 16, generator=draw)
        yield *images, torch.randint(0, classes, (size,), generator=draw)


def encode(encoder, images):
    """Logits and embedding, out of the encoder's parts one by one."""
    x = encoder.trunk(images).mean(dim=(2, 3))
    embedding = normalize(encoder.fc2(torch.relu(encoder.fc1(x))))
    return x, embedding


def published_step(state, im_q, im_k, noisy, stage, guided_label):
    """One training step, line by line as section 2.3 of the specification has it; ``state`` changes in place."""
    s = SETTINGS
    x, q = encode(state["q"], im_q)
    out = state["q"].classifier(torch.relu(state["q"].embed_fc(x)))
    with torch.no_grad():
        own = dict(state["q"].named_parameters())
        for name, parameter in state["k"].named_parameters():
            parameter.copy_(parameter * s["key_momentum"] + own[name] * (1 - s["key_momentum"]))
        _, k = encode(state["k"], im_k)
    queue, ids, prototypes = state["queue"].clone(), state["ids"].clone(), state["prototypes"].clone()
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue], dim=1) / s["temperature"]
    similarity = q @ prototypes.t() / s["temperature"]
    target = noisy.clone()
    if stage.correction:
        p = 0.5 * out.softmax(1) + 0.5 * similarity.softmax(1)
        largest, best = p.max(1)
        target[largest > s["threshold"]] = best[largest > s["threshold"]]
    mask = torch.zeros_like(logits)
    mask[:, 0] = 1
    if stage.guided:
        mask[:, 1:] = ((noisy if guided_label == "raw" else target)[:, None] == ids[None]).float()
    inst = (-(logits.log_softmax(1) * mask).sum(1) / mask.sum(1)).mean()
    loss = cross_entropy(out, target) + s["instance_weight"] * inst
    if stage.prototypes:
        loss = loss + s["prototype_weight"] * cross_entropy(similarity, target)
    with torch.no_grad():
        for key, label in zip(k, target, strict=True):
            state["queue"][:, state["pointer"]], state["ids"][state["pointer"]] = key, label
            state["pointer"] = (state["pointer"] + 1) % s["queue_size"]
        for query, label in zip(q, target, strict=True):
            state["prototypes"][label] *= s["prototype_momentum"]
            state["prototypes"][label] += (1 - s["prototype_momentum"]) * query
        state["prototypes"] = normalize(state["prototypes"], dim=1)
    return loss, target


@pytest.mark.parametrize("guided_label", ["raw", "corrected"])
def test_twenty_steps_equal_the_published_order(guided_label):
    # In double precision: twenty steps of training make a thousandth of what float32 rounds off in the first.
    model = PNL("resnet_mini", 7, guided_label=guided_label, **SETTINGS).double().train()
    plain = {
        "q": copy.deepcopy(model.encoder_q),
        "k": copy.deepcopy(model.encoder_k),
        "queue": model.objective.queue.keys.clone(),
        "ids": model.objective.queue.ids.clone(),
        "pointer": 0,
        "prototypes": model.objective.prototypes.rows.clone(),
    }
    optimizers = [
        torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=1e-4) for net in (model, plain["q"])
    ]
    changed = 0
    for number, (im_q, im_k, labels) in enumerate(batches(20)):
        stage, before = STAGES[number // 5], labels.clone()
        im_q, im_k = im_q.double(), im_k.double()
        result = model.step(im_q, im_k, labels, stage)
        loss, target = published_step(plain, im_q, im_k, labels, stage, guided_label)
        assert torch.equal(labels, before)  # the caller's labels stay
        assert torch.equal(result.corrected, target)
        torch.testing.assert_close(result.loss, loss, rtol=1e-9, atol=1e-9)
        changed += int((target != labels).sum())
        for optimizer, value in zip(optimizers, (result.loss, loss), strict=True):
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    assert 0 < changed < 80
    for ours, theirs in ((model.encoder_q, plain["q"]), (model.encoder_k, plain["k"])):
        for value, other in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            torch.testing.assert_close(value, other, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.objective.queue.keys, plain["queue"], rtol=1e-8, atol=1e-8)
    assert (
        torch.equal(model.objective.queue.ids, plain["ids"]) and int(model.objective.queue.pointer) == plain["pointer"]
    )
    torch.testing.assert_close(model.objective.prototypes.rows, plain["prototypes"], rtol=1e-8, atol=1e-8)


def test_the_two_readings_of_the_guided_label_differ():
    losses = []
    for guided_label in ("raw", "corrected"):
        torch.manual_seed(0)
        model = PNL("resnet_mini", 7, guided_label=guided_label, **{**SETTINGS, "threshold": 0.0}).train()
        for im_q, im_k, labels in batches(2):
            result = model.step(im_q, im_k, labels)
        losses.append(result.terms["inst"])
    assert losses[0] != losses[1]


def test_bfloat16_gives_the_same_loss():
    losses = []
    for mixed in (False, True):
        torch.manual_seed(0)
        model = PNL("resnet_mini", 7, **SETTINGS).train()
        im_q, im_k, labels = next(batches(1))
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            losses.append(model.step(im_q, im_k, labels).loss)
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-2)


@pytest.mark.parametrize("method", ["supervised", "moco", "simclr", "supcon"])
def test_baselines_learn(method):
    model = PNL("resnet_mini", 4, method, dim=8, cls_dim=12, queue_size=16, key_momentum=0.9, hidden=16).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    im_q, im_k, labels = next(batches(1, classes=4))
    losses = []
    for _ in range(8):
        result = model.step(im_q, im_q + 0.1 * im_k, labels)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(result.loss.item())
    assert min(losses[-2:]) < losses[1] and torch.equal(result.corrected, labels)
    assert model.eval()(im_q).shape == (8, 96)


def test_the_key_encoder_has_no_classifier_and_learns_nothing():
    model = PNL("resnet_mini", 7, **SETTINGS)
    assert not any("classifier" in name or "embed_fc" in name for name, _ in model.encoder_k.named_parameters())
    assert not any(parameter.requires_grad for parameter in model.encoder_k.parameters())
    assert model.embedding_net() is model.encoder_q.trunk
