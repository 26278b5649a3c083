"""Two gloo processes compute what one computes."""

import os
import random
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from shared_utils import UserError, distributed


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 4, generator=generator), torch.randn(4, 3, generator=generator)


def pairwise_loss(rows):
    """Depends on every pair of rows, as contrastive losses do."""
    return torch.log_softmax(rows @ rows.T, dim=1).diagonal().mean()


def seeded():
    distributed.seed_everything(3)
    return [torch.rand(2), torch.tensor(np.random.rand(2)), torch.tensor(random.random())]  # noqa: NPY002


def work(rank, port, folder):
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank)
    )
    torch.set_num_threads(1)
    with distributed.process_group():
        rows, weight = data()
        mine = rows[:5] if rank == 0 else rows[5:]
        weight.requires_grad_()
        loss = pairwise_loss(distributed.gather(mine @ weight))
        loss.backward()
        order_source = torch.Generator().manual_seed(1)
        even = torch.arange(6.0).reshape(6, 1)[3 * rank : 3 * rank + 3]
        shuffled, order = distributed.shuffle(even, order_source)
        result = {
            "loss": loss.detach(),
            "gradient": distributed.sum_over_ranks(weight.grad) / 2,  # as DDP averages
            "empty": distributed.gather(rows[:2] if rank == 0 else rows[:0]),
            "share": distributed.share(list(range(5))),
            "objects": distributed.gather_objects({"rank": rank}),
            "broadcast": distributed.broadcast(f"from {rank}"),
            "shuffled": shuffled,
            "seeded": seeded(),
            "restored": torch.equal(distributed.unshuffle(shuffled, order), even),
        }
        distributed.barrier()
        torch.save(result, folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(work, (port, folder), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_a_loss_over_gathered_uneven_batches_has_the_gradient_of_one_process(ranks):
    rows, weight = data()
    weight.requires_grad_()
    loss = pairwise_loss(rows @ weight)
    loss.backward()
    for result in ranks:
        torch.testing.assert_close(result["loss"], loss.detach())
        torch.testing.assert_close(result["gradient"], weight.grad)


def test_gather_takes_an_empty_rank(ranks):
    assert all(torch.equal(result["empty"], data()[0][:2]) for result in ranks)


def test_items_are_shared_without_overlap_or_loss(ranks):
    assert sorted(ranks[0]["share"] + ranks[1]["share"]) == list(range(5))


def test_objects_are_gathered_and_broadcast(ranks):
    assert all(result["objects"] == [{"rank": 0}, {"rank": 1}] for result in ranks)
    assert all(result["broadcast"] == "from 0" for result in ranks)


def test_shuffle_mixes_the_ranks_and_unshuffle_restores(ranks):
    mixed = torch.cat([result["shuffled"] for result in ranks]).flatten()
    assert sorted(mixed.tolist()) == [0, 1, 2, 3, 4, 5] and mixed.tolist() != [0, 1, 2, 3, 4, 5]
    assert all(result["restored"] for result in ranks)


def test_on_one_process_everything_is_a_no_op():
    rows = data()[0].requires_grad_()
    assert distributed.gather(rows) is rows
    assert distributed.rank() == 0 and distributed.world_size() == 1
    assert distributed.share([1, 2, 3]) == [1, 2, 3]
    assert distributed.gather_objects(5) == [5] and distributed.broadcast("x") == "x"
    assert torch.equal(distributed.sum_over_ranks(rows), rows.detach())
    with distributed.process_group():
        assert distributed.world_size() == 1
    shuffled, order = distributed.shuffle(rows, torch.Generator().manual_seed(0))
    assert torch.equal(distributed.unshuffle(shuffled, order), rows.detach())


def test_seeding_makes_draws_repeat():
    distributed.seed_everything(3)
    first = torch.rand(3)
    distributed.seed_everything(3)
    assert torch.equal(torch.rand(3), first)


def test_every_rank_draws_its_own_numbers_and_the_first_those_of_the_seed(ranks):
    for one, first, second in zip(seeded(), *(result["seeded"] for result in ranks), strict=True):
        assert torch.equal(one, first) and not torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("cuda", "--device cuda: no CUDA GPU here; use auto or cpu"),
        ("cuda:1", "--device cuda:1: no CUDA GPU here; use auto or cpu"),
        ("mps", "--device mps: no Apple GPU here; use auto or cpu"),
        ("gpu", "--device gpu is not a device: use auto, cpu, cuda, cuda:0 or mps"),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(name, why, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError) as caught:
        distributed.choose_device(name)
    assert str(caught.value) == why
    assert distributed.choose_device("auto") == distributed.choose_device("cpu") == torch.device("cpu")


def test_a_gpu_beyond_the_last_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed.choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="there are 2 GPUs here"):
        distributed.choose_device("cuda:2")
