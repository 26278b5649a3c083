import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mot_occlusion.losses import TrackingLoss, UnsupervisedReIDLoss, focal_loss, masked_l1_loss
from mot_occlusion.targets import detection_targets
from shared_utils import UserError

HEADS = {"hm": 1, "wh": 4, "id": 8, "reg": 2, "occlusion": 1, "occlusion_offset": 2}


def _scene(seed, num_people, size=(12, 16)):
    """Raw maps and targets of one frame."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate((rng.uniform(0.1, 0.9, (num_people, 2)), rng.uniform(0.1, 0.5, (num_people, 2))), 1)
    targets = {k: torch.from_numpy(v)[None] for k, v in detection_targets(boxes, size, 20).items() if k != "kept"}
    generator = torch.Generator().manual_seed(seed)
    maps = {name: torch.randn(1, c, *size, generator=generator) for name, c in HEADS.items()}
    return maps, targets


def _batch(scenes):
    return tuple({k: torch.cat([scene[side][k] for scene in scenes]) for k in scenes[0][side]} for side in (0, 1))


def test_focal_loss_is_its_equation():
    logits, target = torch.tensor([[[[0.3, -1.0, 2.0]]]]), torch.tensor([[[[1.0, 0.4, 0.0]]]])
    p = torch.sigmoid(logits).reshape(-1)
    expected = -((1 - p[0]) ** 2 * p[0].log() + 0.6**4 * p[1] ** 2 * (1 - p[1]).log() + p[2] ** 2 * (1 - p[2]).log())
    assert focal_loss(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_loss_without_a_peak_is_not_divided():
    logits = torch.randn(2, 1, 4, 4)
    p = torch.sigmoid(logits)
    expected = -(p**2 * (1 - p).log()).sum()
    assert focal_loss(logits, torch.zeros(2, 1, 4, 4)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_l1_counts_values_not_objects():
    maps = torch.zeros(1, 2, 2, 2)
    target = torch.tensor([[[3.0, 1.0], [9.0, 9.0]]])
    loss = masked_l1_loss(maps, torch.tensor([[1, 2]]), torch.tensor([[True, False]]), target)
    assert loss.item() == pytest.approx(4 / 2.0001, rel=1e-6)


def test_identical_frames_of_different_people_cost_nothing():
    """Orthogonal people who are all there again: each row commits to its copy."""
    people = torch.eye(12)
    result = UnsupervisedReIDLoss()([people], [people.clone()])
    assert result["loss"].item() < 0.1
    mixed = UnsupervisedReIDLoss()([people], [torch.ones(12, 12) + 0.1 * torch.randn(12, 12)])
    assert mixed["loss"].item() > 5 * result["loss"].item()


def test_loss_does_not_depend_on_the_order_of_objects():
    current, previous = torch.randn(5, 8), torch.randn(7, 8)
    loss = UnsupervisedReIDLoss()
    shuffled = loss([current[torch.randperm(5)]], [previous[torch.randperm(7)]])["loss"]
    assert shuffled.item() == pytest.approx(loss([current], [previous])["loss"].item(), rel=1e-5)


def test_negative_pairs_push_everybody_to_the_placeholder():
    """Gradient descent on a pair of unrelated frames makes all similarities small, which the positive loss does not."""
    people = torch.nn.Parameter(
        torch.ones(6, 16) + 0.3 * torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    )
    loss, optimizer = UnsupervisedReIDLoss(), torch.optim.Adam([people], 0.05)
    values = []
    for _ in range(300):
        result = loss([people[:3]], [people[3:]], [True])
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
        values.append((result["loss"].item(), result["similarities"].max().item()))
    assert values[0][1] > 0.8 and values[-1][1] < 0
    assert values[-1][0] < 0.65 * values[0][0]


def test_each_term_of_a_negative_pair_is_alive():
    current, previous = torch.randn(3, 8), torch.randn(4, 8)
    result = UnsupervisedReIDLoss()([current], [previous], [True])
    assert result["unrelated"] > 0 and result["inter"] > 0 and result["intra"] == 0 and result["cycle"] == 0
    assert result["loss"].item() == pytest.approx((result["unrelated"] + result["inter"]).item(), rel=1e-6)


def test_mixed_batches_add_up():
    loss = UnsupervisedReIDLoss()
    a, b = (torch.randn(3, 8), torch.randn(4, 8)), (torch.randn(2, 8), torch.randn(5, 8))
    both = loss([a[0], b[0]], [a[1], b[1]], [False, True])["loss"]
    apart = 7 * loss([a[0]], [a[1]], [False])["loss"] + 7 * loss([b[0]], [b[1]], [True])["loss"]
    assert both.item() == pytest.approx(apart.item() / 14, rel=1e-5)


def test_without_any_pair_the_loss_is_zero_and_has_a_graph():
    empty = torch.zeros(0, 8, requires_grad=True)
    some = torch.randn(3, 8, requires_grad=True)
    result = UnsupervisedReIDLoss()([empty], [some])
    result["loss"].backward()
    assert result["loss"] == 0 and some.grad.abs().sum() == 0


def test_the_placeholder_is_a_constant():
    """Else raising all similarities would move it along and cost nothing."""
    current, previous = (torch.randn(4, 8, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    current.requires_grad_()
    loss = UnsupervisedReIDLoss()([current], [previous])
    (gradient,) = torch.autograd.grad(loss["loss"], current)
    f = torch.nn.functional.normalize(torch.cat((current, previous)), dim=1)
    similarity = (f @ f.T).masked_fill(torch.eye(8, dtype=torch.bool), -torch.inf)
    column = torch.full((8, 1), loss["similarities"].mean().item())
    a = torch.softmax(math.log(10) / 0.5 * torch.cat((similarity, column), 1), 1)
    first, second = a.topk(2, 1).values.unbind(1)
    by_hand = (
        a[:4, :4].sum()
        + a[4:, 4:8].sum()
        + (second + 0.5 - first).relu().sum()
        + (a[:4, 4:8] - a[4:, :4].T).abs().sum()
    )
    assert loss["loss"].item() == pytest.approx(by_hand.item() / 8, rel=1e-5)
    assert torch.allclose(gradient, torch.autograd.grad(by_hand / 8, current)[0], atol=1e-6)


def test_a_lone_object_in_each_frame_costs_half_an_object():
    """The placeholder equals the only similarity, so the row cannot commit: trap of the published loss, kept."""
    result = UnsupervisedReIDLoss()([torch.randn(1, 8)], [torch.randn(1, 8)])
    assert result["loss"].item() == pytest.approx(0.5, abs=1e-5)


def test_adaptive_margin_is_what_a_certain_row_reaches():
    current, previous = torch.randn(4, 8), torch.randn(4, 8)
    t = math.log(10) / 0.5
    margin = (math.exp(t) - math.exp(-t)) / (7 * math.exp(-t) + math.exp(t))
    adaptive, fixed = (UnsupervisedReIDLoss(m)([current], [previous])["loss"] for m in (0, margin))
    assert adaptive.item() == pytest.approx(fixed.item(), rel=1e-5)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_maps_give_the_loss_of_float32_within_a_percent(kind):
    (maps, targets), (previous, previous_targets) = (_batch([_scene(s, 6), _scene(s + 1, 4)]) for s in (0, 5))
    loss = TrackingLoss(UnsupervisedReIDLoss())
    exact = loss(maps, targets, previous, previous_targets)["loss"]
    low = [{name: value.to(kind) for name, value in m.items()} for m in (maps, previous)]
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss(low[0], targets, low[1], previous_targets)["loss"]
    assert math.isfinite(rough.item()) and rough.item() == pytest.approx(exact.item(), rel=0.01)


def test_without_re_id_the_total_is_the_detection_loss():
    maps, targets = _scene(0, 5)
    found = TrackingLoss()(maps, targets)
    expected = found["hm"] + 0.1 * found["wh"] + found["reg"] + 0.5 * (found["occlusion"] + found["occlusion_offset"])
    assert found["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_uncertainties_learn_to_weigh():
    """At the optimum of s the weight of a task is one over its loss."""
    loss = TrackingLoss(UnsupervisedReIDLoss())
    (maps, targets), (previous, previous_targets) = _scene(0, 5), _scene(1, 5)
    optimizer = torch.optim.Adam(loss.parameters(), 0.1)
    for _ in range(200):
        found = loss(maps, targets, previous, previous_targets)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
    assert loss.s_id.exp().item() == pytest.approx(found["id"].item(), rel=0.05)


_ONE_RANK = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import torch
from test_losses import _loss_and_gradient
rank = int(os.environ["RANK"])
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
with open(f"{rank}.json", "w") as file:
    json.dump(_loss_and_gradient(rank, 1), file)
torch.distributed.destroy_process_group()
"""


def _loss_and_gradient(first, count):
    """The loss of scenes of very different numbers of people, and its gradient for one shared scale of the maps."""
    people = ((7, 8), (2, 2))
    current = _batch([_scene(s, people[s][0]) for s in range(first, first + count)])
    previous = _batch([_scene(10 + s, people[s][1]) for s in range(first, first + count)])
    scale = torch.ones(1, requires_grad=True)
    loss = TrackingLoss(UnsupervisedReIDLoss())
    scaled = [{name: value * scale for name, value in side[0].items()} for side in (current, previous)]
    total = loss(scaled[0], current[1], scaled[1], previous[1])["loss"]
    gradients = torch.autograd.grad(total, [scale, loss.s_det, loss.s_id])
    return [total.item(), *[gradient.item() for gradient in gradients]]


def test_two_processes_average_to_the_loss_and_gradient_of_one(tmp_path, processes):
    processes.group(_ONE_RANK, Path(__file__).parent, cwd=tmp_path)
    average = np.mean([json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)], axis=0)
    assert average == pytest.approx(_loss_and_gradient(0, 2), rel=1e-5)


def _boxes_scene(boxes, size=(12, 16)):
    """Maps that name exactly the boxes (cx, cy, w, h as fractions) from the nine cells round every centre."""
    targets = {k: torch.from_numpy(v)[None] for k, v in detection_targets(boxes, size, 6).items() if k != "kept"}
    wh, reg = torch.zeros(1, 4, *size), torch.zeros(1, 2, *size)
    for slot in range(len(boxes)):
        x, y = int(targets["ind"][0, slot]) % size[1], int(targets["ind"][0, slot]) // size[1]
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                offset = targets["reg"][0, slot]
                reg[0, :, y + dy, x + dx] = offset - torch.tensor([dx, dy])
                wh[0, :, y + dy, x + dx] = targets["wh"][0, slot]
    return {"wh": wh, "reg": reg}, targets


def test_whole_boxes_are_compared_at_nine_cells_by_giou():
    maps, targets = _boxes_scene(np.array([[0.3, 0.4, 0.2, 0.5], [0.7, 0.5, 0.25, 0.4]]))
    term = TrackingLoss(weights={"giou": 1.0})
    assert term(maps, targets)["giou"].item() == pytest.approx(0, abs=1e-5)
    # One of the eighteen cells names a box of the same place and half the width: IoU 1/2, hull = the larger box.
    x, y = int(targets["ind"][0, 0]) % 16, int(targets["ind"][0, 0]) // 16
    middle = maps["wh"][0, :, y + 1, x - 1]
    maps["wh"][0, :, y + 1, x - 1] = middle * torch.tensor([0.5, 1, 0.5, 1])
    assert term(maps, targets)["giou"].item() == pytest.approx(0.5 / 18, rel=1e-4)


def test_a_cell_belongs_to_the_nearer_centre_and_none_lies_beyond_the_map():
    """Two people two cells apart share a column, of which each has what is not nearer to the other; one is at the corner."""
    near = np.array([[4.5 / 16, 0.5, 0.2, 0.5], [5.5 / 16, 0.5, 0.2, 0.5], [0.5 / 16, 0.5 / 12, 0.1, 0.1]])
    targets = {k: torch.from_numpy(v)[None] for k, v in detection_targets(near, (12, 16), 6).items() if k != "kept"}
    maps = {"wh": torch.ones(1, 4, 12, 16, requires_grad=True), "reg": torch.zeros(1, 2, 12, 16)}
    TrackingLoss(weights={"giou": 1.0})(maps, targets)["giou"].backward()
    taught = maps["wh"].grad.abs().sum(1)[0] > 0
    expected = torch.zeros(12, 16, dtype=torch.bool)
    expected[5:8, 3:7] = True
    expected[:2, :2] = True
    assert torch.equal(taught, expected)


def test_published_weights_leave_giou_out_and_wrong_names_are_refused():
    maps, targets = _scene(0, 5)
    assert "giou" not in TrackingLoss()(maps, targets)
    weighted, plain = (TrackingLoss(weights=w)(maps, targets) for w in ({"giou": 2.0, "wh": 0.0}, {"wh": 0.0}))
    assert weighted["loss"].item() == pytest.approx(plain["loss"].item() + 2 * weighted["giou"].item(), rel=1e-6)
    for wrong in ({"gioo": 1.0}, {"wh": -1.0}, {"wh": math.nan}):
        with pytest.raises(UserError, match="loss weight"):
            TrackingLoss(weights=wrong)
