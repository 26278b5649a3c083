"""Two gloo processes take the steps that one takes on the whole batch."""

import torch
from torch.nn.parallel import DistributedDataParallel

from luperson_nl.pnl import PNL

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
    processes.equal_one(train, tmp_path)
