"""Whatever a user's model takes and returns, it is attacked as what it is, or refused in one sentence."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attack_toys import NUM_CLASSES, predicted, toy_clouds, toy_victim
from torch import nn

from shared_utils import UserError
from si_adv.attacks import CW, IFGM, Adapted, Drop, SimBA, build_attack, sensitivity_map
from si_adv.attacks.base import model_output

SLOW = {"step_size": 1e-3, "steps": 40, "micro_batch": 4}
VICTIM = toy_victim(3)
POINTS, NORMALS = toy_clouds(4)
LABELS = predicted(VICTIM, POINTS)


def attacked(model, points=POINTS, labels=LABELS):
    return IFGM(model, **SLOW).run(points, labels)


EXPECTED = attacked(VICTIM)

DISGUISED = {
    "channels last": (lambda x: VICTIM(x.transpose(1, 2)), {"inputs": "channels_last"}),
    "a dict with pos": (lambda x: VICTIM(x["pos"].transpose(1, 2)), {"inputs": "pos"}),
    "inputs of its own": (lambda x: VICTIM(x[0]), {"inputs": lambda points: (points.transpose(1, 2), None)}),
    "a place in a tuple": (lambda x: (x.mean(2), VICTIM(x)), {"output": 1}),
    "a key of a dict": (lambda x: {"features": x, "scores": VICTIM(x)}, {"output": "scores"}),
    "an attribute": (lambda x: SimpleNamespace(logits=VICTIM(x)), {"output": "logits"}),
    "a function of it": (lambda x: [[VICTIM(x)]], {"output": lambda result: result[0][0]}),
}


@pytest.mark.parametrize("name", DISGUISED)
def test_a_model_of_another_form_is_attacked_as_the_plain_one(name):
    function, options = DISGUISED[name]
    torch.testing.assert_close(attacked(Adapted(function, **options)).adv, EXPECTED.adv)


def numpy_victim(x):
    assert isinstance(x, np.ndarray)
    with torch.no_grad():
        return VICTIM(torch.from_numpy(x)).numpy()


def test_a_numpy_function_is_attacked_by_queries():
    options = {"step": 0.3, "max_queries": 40, "seed": 1}
    expected = SimBA(VICTIM, **options).run(POINTS, LABELS)
    result = SimBA(Adapted(numpy_victim, numpy=True), **options).run(POINTS, LABELS)
    assert torch.equal(result.adv, expected.adv) and torch.equal(result.queries, expected.queries)
    assert expected.success.any()


@pytest.mark.parametrize("as_numpy", [True, False])
def test_a_victim_of_labels_alone_is_evaluated_and_attacked_through_a_surrogate(as_numpy):
    def labels_of(x):
        found = VICTIM(torch.as_tensor(x)).argmax(1)
        return found.numpy() if as_numpy else found

    victim = Adapted(labels_of, numpy=as_numpy, num_classes=NUM_CLASSES)
    assert torch.equal(model_output(victim, POINTS).argmax(1), LABELS)
    result = build_attack("si_query", victim, surrogate=VICTIM, step=2.0, published_start=True).run(POINTS, LABELS)
    assert torch.equal(predicted(VICTIM, result.adv) != LABELS, result.success)


def test_a_selector_that_finds_nothing_says_what_there_is():
    for function, output, message in (
        (lambda x: (VICTIM(x),), 1, "no output 1: it is or has tuple"),
        (lambda x: {"scores": VICTIM(x)}, "logits", "no output 'logits': it is or has the keys scores"),
        (VICTIM, "logits", "no output 'logits': it is or has Tensor"),
        (lambda x: (VICTIM(x), "aside"), 1, "returned a str for its scores"),
    ):
        with pytest.raises(UserError, match=message):
            attacked(Adapted(function, output=output))
    with pytest.raises(UserError, match="unknown inputs 'last'"):
        Adapted(VICTIM, inputs="last")
    with pytest.raises(UserError, match="label 7 and num_classes is 3"):
        attacked(Adapted(lambda x: torch.full((len(x),), 7), num_classes=3))
    with pytest.raises(UserError, match="returns .1,. whole numbers, got .1, 8. torch.float32"):
        IFGM(Adapted(VICTIM, num_classes=8)).run(POINTS, LABELS)


def nan_victim(x):
    return VICTIM(x) * torch.tensor(float("nan"))


@pytest.mark.parametrize(
    ("victim", "message"),
    [
        (lambda x: (x.mean(2), VICTIM(x)), r"several \(B, C\) outputs, \(1, 3\), \(1, 8\).*Adapted\(model, output=1\)"),
        (nan_victim, "returned NaN for cloud 0"),
        (lambda x: VICTIM(x)[:, :1], "a single class"),
        (lambda x: VICTIM(x).argmax(1), r"got \(1,\) of torch.int64; for one that returns labels alone"),
        (lambda x: VICTIM(x).long(), r"must return \(B, C\) outputs .* of torch.int64"),
        (lambda x: {"logits": VICTIM(x)}, "returns a dict, not a tensor"),
        (lambda x: VICTIM(x).detach().numpy(), "returns a ndarray, not a tensor"),
        (lambda x: SimpleNamespace(logits=VICTIM(x)), "returns a SimpleNamespace"),
    ],
)
def test_an_output_that_is_not_one_table_of_scores_is_refused(victim, message):
    with pytest.raises(UserError, match=message):
        IFGM(victim).run(POINTS, LABELS)
    with pytest.raises(UserError, match=message):
        SimBA(victim, max_queries=2).run(POINTS, LABELS)


def test_a_tuple_with_one_table_of_scores_needs_no_selector():
    torch.testing.assert_close(attacked(lambda x: (x, VICTIM(x), "aside")).adv, EXPECTED.adv)


@pytest.mark.parametrize(
    "attack",
    [
        IFGM(lambda x: VICTIM(x.detach())),
        CW(lambda x: VICTIM(x.detach()), iterations=2, search_steps=1),
        Drop(lambda x: VICTIM(x.detach())),
        build_attack("si_query", VICTIM, surrogate=lambda x: VICTIM(x.detach())),
        build_attack("simba_pp", lambda x: VICTIM(x.detach())),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_a_victim_without_gradient_is_refused_where_one_is_needed(attack):
    with pytest.raises(UserError, match="no gradient in the points .* attack it by queries"):
        attack.run(POINTS, LABELS)


def test_a_model_in_double_precision_is_attacked():
    result = attacked(copy.deepcopy(VICTIM).double())
    assert result.adv.dtype == torch.float32 and torch.equal(result.success, EXPECTED.success)
    torch.testing.assert_close(result.adv, EXPECTED.adv, atol=1e-4, rtol=0)
    sensitivity, _ = sensitivity_map(nn.Sequential(copy.deepcopy(VICTIM).double()), POINTS, LABELS, NORMALS)
    torch.testing.assert_close(sensitivity, sensitivity_map(VICTIM, POINTS, LABELS, NORMALS)[0], atol=1e-4, rtol=1e-3)


def test_labels_and_clouds_may_be_lists_and_arrays():
    assert torch.equal(attacked(VICTIM, POINTS.numpy(), LABELS.tolist()).adv, EXPECTED.adv)
    assert torch.equal(attacked(VICTIM, labels=LABELS.double()).adv, EXPECTED.adv)
    whole = sensitivity_map(VICTIM, POINTS, LABELS, NORMALS)[0]
    assert torch.equal(sensitivity_map(VICTIM, POINTS, LABELS.tolist(), NORMALS)[0], whole)


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (POINTS[:, :0], LABELS, r"N > 0, got \(4, 0, 3\)"),
        (POINTS[:0], LABELS[:0], r"B > 0 and N > 0, got \(0, 256, 3\)"),
        (POINTS[0], LABELS, r"got \(256, 3\)"),
        (POINTS.transpose(1, 2), LABELS, r"got \(4, 3, 256\)"),
        (POINTS.to(torch.complex64), LABELS, "of torch.complex64"),
        (
            POINTS.masked_fill(torch.arange(4)[:, None, None] == 2, torch.nan),
            LABELS,
            "cloud 2 of the batch has a point",
        ),
        (POINTS, LABELS[:3], r"need labels of shape \(4,\), got \(3,\)"),
        (POINTS, LABELS + 0.5, "labels are whole numbers"),
        (POINTS, LABELS + 8, r"labels must lie in 0\.\.7"),
        (POINTS, -1 - LABELS, r"labels must lie in 0\.\.7"),
    ],
)
def test_clouds_and_labels_that_cannot_be_used_are_refused(points, labels, message):
    with pytest.raises(UserError, match=message):
        attacked(VICTIM, points, labels)
