"""Two gloo processes take the steps that one takes on the whole batch."""

from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from luperson_nl.pnl import PNL

RANK = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch
from test_processes import train
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo")
state = train(int(os.environ["RANK"]), 2)
torch.save(state, os.environ["RANK"] + ".pt")
torch.distributed.destroy_process_group()
"""
METHODS = ("pnl", "supcon", "moco")


def train(rank, world):
    """Three steps of each method with batch norm frozen, on this rank's share of every batch."""
    states = {}
    for method in METHODS:
        torch.manual_seed(0)
        model = PNL("resnet_mini", 5, method, dim=8, cls_dim=8, queue_size=12, threshold=0.2, hidden=16)
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()
        wrapped = torch.nn.Module()
        wrapped.model, wrapped.forward = model, model.step
        if world > 1:
            wrapped = DistributedDataParallel(wrapped, broadcast_buffers=False, find_unused_parameters=True)
        optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
        draw = torch.Generator().manual_seed(1)
        for _ in range(3):
            images, labels = torch.randn(2, 8, 3, 32, 16, generator=draw), torch.randint(0, 5, (8,), generator=draw)
            part = slice(rank * 8 // world, (rank + 1) * 8 // world)
            result = wrapped(images[0, part], images[1, part], labels[part])
            optimizer.zero_grad()
            result.loss.backward()
            optimizer.step()
        states |= {f"{method}.{name}": value for name, value in model.state_dict().items()}
    return states


def test_two_processes_equal_one(tmp_path, processes):
    processes.group(RANK, Path(__file__).parent, cwd=tmp_path)
    alone = train(0, 1)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in alone.items():
        for rank in ranks:
            torch.testing.assert_close(
                rank[name], value, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
            )
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in alone)
