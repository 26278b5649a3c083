"""Orders of training: a function of seed and epoch, the same batches on any number of processes, P x K, refusals at the start."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from luperson_nl.data.samplers import BalancedOrder, BatchOrder, IdentityOrder
from shared_utils import UserError, distributed
from shared_utils.loading import RankShare, ResumableLoader

IDS = np.repeat(np.arange(10), [3, 8, 8, 8, 5, 9, 4, 4, 12, 7])
CAMERAS = np.arange(len(IDS)) % 3


class Places(Dataset):
    def __getitem__(self, place):
        return torch.tensor(place)


def loader(order):
    return ResumableLoader(Places(), order, order.share)


def batches(order, epoch=0):
    order.set_epoch(epoch)
    return [batch[:, 0].tolist() for batch in loader(order)]


def on(monkeypatch, rank, size):
    monkeypatch.setattr(distributed, "world_size", lambda: size)
    monkeypatch.setattr(distributed, "rank", lambda: rank)


def make(kind, batch_size=8, seed=0):
    if kind == "random":
        return BatchOrder(len(IDS), batch_size, seed)
    if kind == "naive":
        return IdentityOrder(IDS, batch_size, 4, seed)
    return BalancedOrder(IDS, CAMERAS, batch_size, 4, seed)


@pytest.mark.parametrize("kind", ["random", "naive", "balanced"])
def test_an_order_follows_from_seed_and_epoch(kind):
    first = batches(make(kind))
    assert len(first) == len(IDS) // 8 and all(len(batch) == 8 for batch in first)
    assert first == batches(make(kind)) and first != batches(make(kind), 1) and first != batches(make(kind, seed=1))


@pytest.mark.parametrize("kind", ["random", "naive", "balanced"])
def test_two_processes_see_the_batches_of_one(kind, monkeypatch):
    whole = batches(make(kind), 2)
    parts = []
    for rank in range(2):
        on(monkeypatch, rank, 2)
        parts.append(batches(make(kind), 2))
    assert [first + second for first, second in zip(*parts, strict=True)] == whole


def test_a_random_epoch_has_no_sample_twice():
    seen = [index for batch in batches(make("random")) for index in batch]
    assert len(set(seen)) == len(seen) == 64


@pytest.mark.parametrize("kind", ["naive", "balanced"])
def test_a_batch_has_p_identities_of_k_images(kind):
    for batch in batches(make(kind, 12)):
        identities, counts = np.unique(IDS[batch], return_counts=True)
        assert len(identities) == 3 and (counts == 4).all()


def test_naive_uses_an_image_once_before_it_begins_again():
    order = make("naive")
    one_round = np.concatenate(order._round(np.random.default_rng(0)))
    large = one_round[IDS[one_round] != 0]
    assert len(set(large.tolist())) == len(large)
    # Nobody with K images left could have made another batch of P.
    left = sum((np.sum(each == IDS) - np.sum(one_round == each)) >= 4 for each in range(10) if each != 0)
    assert left >= 0 and len(one_round) >= 48


def test_balanced_prefers_other_cameras():
    for batch in batches(make("balanced")):
        for group in np.array(batch).reshape(-1, 4):
            assert (CAMERAS[group[1:]] != CAMERAS[group[0]]).all()
    # One camera alone: other images of the person; a single image is repeated.
    lonely = BalancedOrder(np.array([0, 0, 1, 2, 2, 2, 2]), np.zeros(7), 4, 2)
    for _ in range(10):
        first, second, *_ = np.concatenate(lonely._round(np.random.default_rng()))
        assert (first == second) == (first == 2)


@pytest.mark.parametrize(
    ("make_order", "message"),
    [
        (lambda: IdentityOrder(np.arange(17) % 2, 16, 4), "needs 4 identities, the data has 2"),
        (lambda: IdentityOrder(IDS, 10, 4), "10 is not a multiple of data.instances 4"),
        (lambda: BatchOrder(5, 8), "5 training images make no batch of 8"),
        (lambda: BatchOrder(5, 0), "batch_size 0"),
    ],
)
def test_what_would_wait_for_ever_is_refused(make_order, message):
    with pytest.raises(UserError, match=message):
        make_order()


def test_uneven_shares_are_refused_on_every_rank(monkeypatch):
    for rank in range(3):
        on(monkeypatch, rank, 3)
        with pytest.raises(UserError, match="8 is not a multiple of the 3 processes"):
            make("random")
        with pytest.raises(UserError, match="over 3 processes"):
            IdentityOrder(IDS, 12, 6)
        with pytest.raises(UserError, match="needs 4 identities"):
            IdentityOrder(np.arange(17) % 2, 12, 3)


def test_a_loader_goes_on_within_its_epoch():
    whole = batches(make("random"), 3)
    stopped = loader(make("random"))
    stopped.order.set_epoch(3)
    running = iter(stopped)
    seen = [next(running)[:, 0].tolist() for _ in range(3)]
    state = stopped.state_dict()
    resumed = loader(make("random"))
    resumed.load_state_dict(state)
    resumed.order.set_epoch(3)
    assert seen + [batch[:, 0].tolist() for batch in resumed] == whole
    assert len([*resumed]) == len(whole)  # the next epoch is whole again
    resumed.load_state_dict(state)
    resumed.order.set_epoch(4)
    assert len([*resumed]) == len(whole)


def test_samples_come_with_their_epoch():
    order = make("random")
    order.set_epoch(7)
    assert {epoch for _, epoch in order} == {7}


def test_an_evaluation_has_every_sample_once(monkeypatch):
    shares = []
    for rank in range(3):
        on(monkeypatch, rank, 3)
        shares += list(RankShare(10))
    assert sorted(shares) == list(range(10))
