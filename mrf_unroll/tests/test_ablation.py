"""What the data consistency is worth, on a small case."""

import torch

from mrf_unroll.data.datamodule import FingerprintingDataModule
from mrf_unroll.data.measure import Batch
from mrf_unroll.lightning_module import UnrolledModule
from mrf_unroll.metrics import map_errors
from mrf_unroll.protocol import ProtocolOptions

PROTOCOL = ProtocolOptions(schedule="jiang:40", rank=3, grid=(12, 12), image_size=16, samples=16, turns=3.0)


def _trained_error(data, consistency, steps=80):
    """Mean NRMSE of T1 and T2 on test slices after a short training."""
    torch.manual_seed(0)
    options = {"encoder": {"name": "resnet", "hidden": 24, "blocks": 2}, "iterations": 3, "decoder_steps": 200}
    module = UnrolledModule(data.protocol, consistency=consistency, **options)
    module.prepare(data.training)
    network = module.reconstructor.network
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 8e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 8e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randperm(len(data.training.maps))[:4]
        batch = Batch(*(None if value is None else value[rows] for value in data.training))
        loss = module.training_loss(data.on_after_batch_transfer(batch, 0)).total
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    test = Batch(*(None if values[0] is None else torch.cat(values) for values in zip(*data.test, strict=True)))
    with torch.no_grad():
        errors = map_errors(module(test.adjoint), test.maps, test.mask)
    return (errors["T1_NRMSE"] + errors["T2_NRMSE"]) / 2


def test_leaving_data_consistency_out_makes_the_maps_visibly_worse():
    data = FingerprintingDataModule(protocol=PROTOCOL, num_train=8, num_val=1, num_test=3, anatomy="heads", seed=0)
    with_it, without_it = (_trained_error(data, flag) for flag in ("gradient", "none"))
    assert with_it < 0.4  # both have learnt something
    assert without_it > 1.25 * with_it, (with_it, without_it)
