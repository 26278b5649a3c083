"""Classes split over two gloo processes: the loss and the gradients of one process that has them all."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from luperson_nl.pnl import PNL, SPLIT, Shard
from shared_utils import UserError

RANK = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
from test_sharding import train
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
torch.save(train(int(os.environ["RANK"]), 2), os.environ["RANK"] + ".pt")
torch.distributed.destroy_process_group()
"""
CLASSES = 7  # not a multiple of two


def build(method, seed=0):
    torch.manual_seed(seed)
    model = PNL("resnet_mini", CLASSES, method, 8, 8, 12, threshold=0.2, hidden=16, classifier_sharding="partial_fc")
    for module in model.double().train().modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def train(rank, world):
    """Two steps of each method on this rank's share of every batch, in double precision: losses, gradients and states."""
    found = {}
    for method in ("pnl", "supervised"):
        model = build(method)
        with torch.no_grad():
            model.encoder_q.classifier.weight += rank  # what is split is what the first process has
        shard = model.split_classes()
        whole = shard.join if shard else torch.Tensor.detach
        found[f"{method} rows"] = len(model.encoder_q.classifier.weight)
        if model.objective is not None:
            model.objective.prototypes.collect()
        wrapped = torch.nn.Module()
        wrapped.model, wrapped.forward = model, model.step
        if world > 1:
            ignored = [f"model.{name}" for name in SPLIT]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(wrapped, ignored)
            wrapped = DistributedDataParallel(wrapped, broadcast_buffers=False)
        optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], 0.02, momentum=0.9)
        draw = torch.Generator().manual_seed(1)
        for step in range(2):
            images = torch.randn(2, 8, 3, 32, 16, generator=draw).double()
            labels = torch.randint(0, CLASSES, (8,), generator=draw)
            part = slice(rank * 8 // world, (rank + 1) * 8 // world)
            result = wrapped(images[0, part], images[1, part], labels[part])
            optimizer.zero_grad()
            result.loss.backward()
            for name in ("corrected", "max_p", "entropy"):
                found[f"{method} {step} {name}"] = getattr(result, name)
            found |= {f"{method} {step} loss {name}": term for name, term in result.terms.items()}
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    gradient = whole(parameter.grad) if name in SPLIT else parameter.grad.clone()
                    found[f"{method} {step} gradient {name}"] = gradient
            optimizer.step()
        found |= {f"{method} state {name}": value.clone() for name, value in model.state_dict().items()}
        if model.objective is not None:
            found["pnl sums"] = whole(model.objective.prototypes.sums)
            found["pnl unseen"] = model.objective.prototypes.num_unseen()
        other = build(method, seed=5)
        other.split_classes()
        other.load_state_dict(model.state_dict())  # of whole rows
        same = zip(other.parameters(), model.parameters(), strict=True)
        found[f"{method} loaded"] = all(torch.equal(*pair) for pair in same)
    return found


def test_loss_and_gradients_equal_those_of_one_process(tmp_path, processes):
    processes.group(RANK, Path(__file__).parent, cwd=tmp_path)
    alone = train(0, 1)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for method in ("pnl", "supervised"):
        assert [each.pop(f"{method} rows") for each in (alone, *ranks)] == [7, 3, 4]
    assert (alone["pnl 1 corrected"] != torch.cat([each["pnl 0 corrected"] for each in ranks])).any()
    for name, value in alone.items():
        first, second = (each[name] for each in ranks)
        if not isinstance(value, torch.Tensor):
            assert value == first == second, name
        elif name.endswith(("corrected", "max_p", "entropy")):
            torch.testing.assert_close(torch.cat([first, second]), value, rtol=0, atol=1e-9, equal_nan=True)
        elif name.endswith("inst"):
            torch.testing.assert_close((first + second) / 2, value, rtol=0, atol=1e-9)
        else:
            for each in (first, second):
                torch.testing.assert_close(
                    each, value, rtol=0, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
                )


def test_one_process_holds_all_classes():
    model = build("pnl")
    before = copy.deepcopy(model.state_dict())
    assert model.split_classes() is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_cannot_be_split_is_refused(monkeypatch):
    with pytest.raises(UserError, match="method moco has no classifier to split"):
        PNL("resnet_mini", 3, "moco", classifier_sharding="partial_fc")
    with pytest.raises(UserError, match="classifier_sharding 'fc'"):
        PNL("resnet_mini", 3, classifier_sharding="fc")
    monkeypatch.setattr("luperson_nl.pnl.sharding.world_size", lambda: 8)
    with pytest.raises(UserError, match="7 identities cannot be split over 8 processes"):
        Shard.of_this_process(7)


def test_rows_are_not_saved_without_the_processes_that_hold_the_others():
    with pytest.raises(RuntimeError, match="have ended"):
        Shard(7, 0, 3).join(torch.zeros(3, 2))
