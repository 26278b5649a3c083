"""Two gloo processes take the steps that one takes on the whole batch: gathered negatives with their gradients."""

import numpy as np
import torch
from torch import nn

from av_deepfake.data.mouths import ArrayMouths
from av_deepfake.data.talking import TalkingBatches
from av_deepfake.losses import Queue, Temperature, symmetric_infonce
from av_deepfake.models.branches import AudioVisual
from av_deepfake.objective import Agreement

NETWORK = {"widths": [8, 16], "blocks": [1, 1], "dim": 8, "depth": 1, "heads": 2, "mlp": 16, "dropout": 0.0}


def pair():
    torch.manual_seed(0)
    # Statistics of a batch are of the process; everything else is of the whole batch.
    return AudioVisual({**NETWORK, "channels": 8}, NETWORK, 8, "frames").eval()


class Step(nn.Module):
    def __init__(self):
        super().__init__()
        self.video, self.audio, self.temperature = nn.Linear(6, 4), nn.Linear(5, 4), Temperature(0.1)

    def forward(self, video, audio, shifted, ids, queue):
        rows = self.video(video), self.audio(audio)
        loss = symmetric_infonce(*rows, self.temperature(), self.audio(shifted), ids=ids, queue=queue)
        return loss, rows


def train(rank, world):
    """Three steps on this rank's share of every batch; shares differ in size."""
    torch.manual_seed(0)
    step, queue = Step(), Queue(12, 4)
    optimizer = torch.optim.SGD(step.parameters(), 0.5, momentum=0.9)
    draw = torch.Generator().manual_seed(1)
    part = slice(0, 8) if world == 1 else (slice(0, 5), slice(5, 8))[rank]
    for number in range(3):
        video, audio = torch.randn(8, 6, generator=draw), torch.randn(8, 5, generator=draw)
        shifted = torch.randn(8, 2, 5, generator=draw)
        # The last two clips are of one video, which the next batch has too.
        ids = torch.tensor([0, 1, 2, 3, 4, 5, 50, 50]) + 6 * number * (torch.arange(8) < 6)
        optimizer.zero_grad()
        loss, rows = step(video[part], audio[part], shifted[part], ids[part], queue)
        loss.backward()
        for parameter in step.parameters() if world > 1 else ():  # what DistributedDataParallel does
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world
        optimizer.step()
        queue.push(*(side.detach() for side in rows), ids[part])
    return {**step.state_dict(), **{f"queue.{name}": value for name, value in queue.state_dict().items()}}


def test_two_processes_equal_one(tmp_path, processes):
    alone = processes.equal_one(train, tmp_path, atol=1e-6)
    assert alone["queue.ids"].shape == (12,) and (alone["queue.ids"] == 50).sum() == 4


def pretrain(rank, world):
    """Two steps of a pre-training on this rank's share of the loader's batches."""
    model = pair()
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (9, 46, 16, 16), np.uint8)
    sound = rng.standard_normal((9, 46 * 640)).astype(np.float32)
    batches = TalkingBatches(ArrayMouths(pictures, sound), 4, 16, shifted=1, seed=3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for number in (1, 2):  # the end of an epoch and the next one's beginning
        optimizer.zero_grad()
        batch = batches[number]
        assert len(batch.video) == 4 // world
        Agreement(frame_weight=0.5).terms(model, batch)["loss"].backward()
        for parameter in (parameter for parameter in model.parameters() if parameter.grad is not None and world > 1):
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= world
        optimizer.step()
    return model.state_dict()


def test_a_pre_training_of_two_processes_is_that_of_one(tmp_path, processes):
    after, name = processes.equal_one(pretrain, tmp_path), "video.frontend.frontend3D.0.weight"
    assert float((after[name] - pair().state_dict()[name]).abs().max()) > 1e-4  # ten times the tolerance
