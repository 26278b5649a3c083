"""Two gloo processes take the steps that one takes on the whole batch: shared batch norm and Partial FC."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ict_deepfake.losses import ict_loss
from ict_deepfake.margin import build_head
from ict_deepfake.models.ict import ICT, Embeddings


class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = ICT(img_size=16, patch_size=8, embed_dim=16, depth=1, num_heads=2)
        # Fresh networks give all pictures nearly the same tokens, and the batch norm magnifies their rounding.
        for block in self.model.blocks:
            for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
                nn.init.normal_(linear.weight, std=0.4)
        self.head = build_head("arcface", 16, 40, 8, 0.3, sample=0.5)

    def forward(self, ba, ab, a, b):
        inner, outer = self.model(torch.cat([ba, ab]))
        first, second = slice(0, len(ba)), slice(len(ba), None)
        pair = Embeddings(inner[first], outer[first]), Embeddings(inner[second], outer[second])
        return ict_loss(*pair, a, b, self.head, 1.0, 0.2)["loss"]


def train(rank, world):
    """Two steps on this rank's share of every batch."""
    torch.manual_seed(0)
    step = Step().train()
    wrapped = DistributedDataParallel(step) if world > 1 else step
    optimizer = torch.optim.SGD(step.parameters(), 0.05, momentum=0.9)
    draw = torch.Generator().manual_seed(1)
    for _ in range(2):
        pictures, labels = torch.randn(2, 8, 3, 16, 16, generator=draw), torch.randint(0, 40, (2, 8), generator=draw)
        part = slice(rank * 8 // world, (rank + 1) * 8 // world)
        optimizer.zero_grad()
        wrapped(pictures[0, part], pictures[1, part], labels[0, part], labels[1, part]).backward()
        optimizer.step()
    return step.state_dict()


def test_two_processes_equal_one(tmp_path, processes):
    alone = processes.equal_one(train, tmp_path)
    assert alone["head.steps"] == 2 and alone["model.bn.num_batches_tracked"] == 4
