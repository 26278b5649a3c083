"""Loaders that go on where a checkpoint was, and shares of processes."""

import pytest
import torch
from torch.utils.data import Dataset

from shared_utils import distributed
from shared_utils.loading import Count, EpochSampler, Numbers, Order, RankShare, Resumable, ResumableLoader


class Batches(Dataset):
    def __getitem__(self, number):
        return torch.tensor(number)


class Rows(Order):
    """Ten rows a epoch, in pairs, the epoch beside them."""

    def __init__(self):
        super().__init__(Count(10), 1, 0)

    def __iter__(self):
        return iter([(self.epoch, row) for row in range(2 * self.start, 10)])


def numbered(num_workers=0):
    return ResumableLoader(Batches(), Numbers(4), num_workers=num_workers)


def rows():
    return ResumableLoader(Batches(), Rows(), 2)


def epoch(loader, number):
    loader.order.set_epoch(number)
    return [batch.tolist() for batch in loader]


def test_numbers_count_from_the_beginning_of_the_training():
    loader = numbered()
    assert [epoch(loader, number) for number in (0, 1, 5)] == [[0, 1, 2, 3], [4, 5, 6, 7], [20, 21, 22, 23]]
    assert len(loader) == 4


def test_batches_of_rows_are_whole():
    assert epoch(rows(), 3)[0] == [[3, 0], [3, 1]]


@pytest.mark.parametrize("make", [numbered, rows])
def test_a_loader_goes_on_within_its_epoch(make):
    whole = epoch(make(), 2)
    stopped = make()
    stopped.order.set_epoch(2)
    running = iter(stopped)
    seen = [next(running).tolist() for _ in range(3)]
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    assert seen + epoch(resumed, 2) == whole
    assert epoch(resumed, 2) == whole  # only once


def test_a_state_of_another_epoch_leaves_nothing_out():
    stopped = numbered()
    stopped.order.set_epoch(1)
    next(iter(stopped))
    resumed = numbered()
    resumed.load_state_dict(stopped.state_dict())
    assert epoch(resumed, 2) == [8, 9, 10, 11]


def test_workers_draw_nothing_and_leave_the_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert epoch(numbered(1), 0) == [0, 1, 2, 3]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_data_module_keeps_the_place_of_a_loader_made_before_and_after():
    first = Resumable()
    assert first.state_dict() == {}
    loader = first.resumed(numbered())
    running = iter(loader)
    next(running), next(running)
    state = first.state_dict()
    assert state == {"epoch": 0, "batches": 2}
    before, after = Resumable(), Resumable()
    made = before.resumed(numbered())
    before.load_state_dict(state)
    after.load_state_dict(state)
    assert epoch(made, 0) == epoch(after.resumed(numbered()), 0) == [2, 3]


def test_shares_of_processes_are_every_row_once(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        share = list(RankShare(10))
        assert len(RankShare(10)) == len(share)
        shares += share
    assert sorted(shares) == list(range(10))


def test_an_order_follows_from_seed_and_epoch():
    sampler = EpochSampler(Count(20), 1, 0, seed=3)
    sampler.set_epoch(4)
    places = list(sampler)
    assert {number for number, _ in places} == {4} and sorted(index for _, index in places) == list(range(20))
    again = EpochSampler(Count(20), 1, 0, seed=3)
    again.set_epoch(4)
    assert list(again) == places
    again.set_epoch(5)
    assert [index for _, index in again] != [index for _, index in places]
