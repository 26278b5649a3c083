"""Experts over two gloo processes equal one process: forward, gradients, a DDP step, a sharded checkpoint."""

import copy

import pytest
import pytorch_lightning  # noqa: F401 (before the processes are forked)
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import two_ranks
from torch import nn

from rmoe.moe import FeedForward, ResidualMoE, auxiliary_losses, moe_layers
from rmoe.moe.convert import from_feed_forward
from rmoe.moe.parallel import (
    clip_gradients,
    finish_gradients,
    fully_shard_around,
    ignore_in_ddp,
    shard_experts,
    sharded_parameters,
    sharded_state_dict,
)
from shared_utils import UserError

# Tokens of the two ranks, and whether one expert gets none.
BATCHES = {"unequal": (23, 31, False), "one rank empty": (0, 31, False), "one expert empty": (23, 31, True)}
AUXILIARY = ("gshard", "importance", "load_importance")
PARAMS = ("factored", "merged")
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def made(param: str, k: int = 1, one_empty: bool = False) -> ResidualMoE:
    torch.manual_seed(1)
    layer = from_feed_forward(FeedForward(6, 10).double(), experts=4, k=k, param=param, capacity_factor=0.0)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith(("residual.", "experts.")):
                parameter.add_(torch.randn_like(parameter))
        layer.router.weight.normal_()
        if one_empty:
            layer.router.weight[2] = layer.router.weight[1] - 1e-3
            layer.router.weight[1:3, 1:] = 0
            layer.router.weight[1, 0], layer.router.weight[2, 0] = 1.0, -1.0
    return layer.eval()


def tokens(name: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    first, second, one_empty = BATCHES[name]
    parts = [torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (first, second)]
    # Where the first channel is positive, expert 1 is before expert 2 whatever the token.
    return [part.abs() for part in parts] if one_empty else parts


class Small(nn.Module):
    """A model whose middle is a mixture."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.mixture = nn.Linear(5, 6).double(), made("factored")
        self.last = nn.Linear(6, 2).double()

    def forward(self, x):
        return self.last(self.mixture(self.first(x)))


def images() -> torch.Tensor:
    return torch.randn(8, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))


def lightning_module(sharded: bool):
    from pytorch_lightning import LightningModule

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Small()

        def setup(self, stage):
            if sharded:
                shard_experts(self.net)
                ignore_in_ddp(self)

        def training_step(self, batch, index):
            (x,) = batch
            return self.net(x).square().mean()

        def on_before_optimizer_step(self, optimizer):
            if sharded:
                finish_gradients(self.net)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Module()


def lightning_step(folder: str, devices: int) -> dict[str, torch.Tensor]:
    """The parameters after one step; shards are this rank's."""
    from pytorch_lightning import Trainer

    module = lightning_module(devices > 1)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images()), batch_size=8 // devices, shuffle=False
    )
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_steps=1,
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, loader)
    return {name: value.detach().clone() for name, value in module.net.named_parameters()}


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", rank=rank, world_size=2)
    results = {}
    for param in PARAMS:
        for name in BATCHES:
            for k in (1, 2):
                layer = made(param, k, BATCHES[name][2])
                shard_experts(layer)
                x = tokens(name)[rank].requires_grad_()
                y = layer(x)
                (y.square().sum()).backward()
                for key, parameter in layer.named_parameters():
                    if key in ("router.weight",) or key.startswith("core."):
                        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                        dist.all_reduce(parameter.grad)
                results[param, name, k] = {
                    "y": y.detach(),
                    "x": x.grad,
                    **{key: p.grad for key, p in layer.named_parameters()},
                }
    model = Small()
    shard_experts(model)
    model(images()[4 * rank : 4 * rank + 4]).square().mean().backward()
    names = {name for name, _ in sharded_parameters(model)}
    for name, parameter in model.named_parameters():
        if name not in names:
            dist.all_reduce(parameter.grad)
            parameter.grad /= 2
    finish_gradients(model)
    norm = clip_gradients(model, 0.01)
    results["norm"] = norm
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,), mesh_dim_names=("ep",))
    dcp.save(sharded_state_dict(model, mesh), checkpoint_id=f"{folder}/sharded")
    loaded = Small()
    shard_experts(loaded)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    dcp.load(sharded_state_dict(loaded, mesh), checkpoint_id=f"{folder}/sharded")
    results["loaded"] = all(torch.equal(a, b) for a, b in zip(loaded.parameters(), model.parameters(), strict=True))
    for dp, ep in ((1, 2), (2, 1)):
        mesh = dist.device_mesh.init_device_mesh("cpu", (dp, ep), mesh_dim_names=("dp", "ep"))
        model = Small()
        fully_shard_around(model, mesh)
        model(images()[4 * rank : 4 * rank + 4]).square().mean().backward()
        finish_gradients(model)
        results["fsdp", dp, ep] = {name: p.grad.full_tensor() for name, p in model.named_parameters()}
        dcp.save(sharded_state_dict(model, mesh), checkpoint_id=f"{folder}/fsdp{dp}{ep}")
    layer = made("factored")
    layer(tokens("unequal")[rank])
    losses = auxiliary_losses(layer, AUXILIARY, global_balance=True)
    (sum(losses.values()) / 2).backward()
    dist.all_reduce(layer.router.weight.grad)
    results["global"] = {**losses, "gradient": layer.router.weight.grad}
    results["lightning"] = lightning_step(folder, 2)
    results["global"] = {name: value.detach() for name, value in results["global"].items()}
    torch.save(results, f"{folder}/rank{rank}.pt")
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    two_ranks.run(worker, str(folder))
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("param", PARAMS)
def test_two_processes_equal_one(ranks, param, name, k):
    _, found = ranks
    first, second = (result[param, name, k] for result in found)
    layer = made(param, k, BATCHES[name][2])
    x = torch.cat(tokens(name)).requires_grad_()
    y = layer(x)
    y.square().sum().backward()
    if BATCHES[name][2] and k == 1:
        assert (layer.routing.expert != 2).all()
    torch.testing.assert_close(torch.cat([first["y"], second["y"]]), y.detach(), **TOLERANCE)
    torch.testing.assert_close(torch.cat([first["x"], second["x"]]), x.grad, **TOLERANCE)
    for key, parameter in layer.named_parameters():
        if key.startswith(("residual.", "experts.")):
            gradient = torch.cat([first[key], second[key]])
        else:
            gradient = first[key]
            if gradient is not None:
                assert torch.equal(gradient, second[key])
        if parameter.grad is not None:
            scale = max(1.0, float(parameter.grad.abs().max()))
            torch.testing.assert_close(gradient / scale, parameter.grad / scale, **TOLERANCE)


def test_a_lightning_ddp_step_equals_the_step_of_one_process(ranks, tmp_path):
    _, found = ranks
    wanted = lightning_step(str(tmp_path), 1)
    first, second = (result["lightning"] for result in found)
    before = dict(Small().named_parameters())
    for name, value in wanted.items():
        ours = torch.cat([first[name], second[name]]) if ".residual." in name else first[name]
        torch.testing.assert_close(ours, value, **TOLERANCE)
    assert any((wanted[name] - before[name]).abs().max() > 1e-3 for name in wanted)


@pytest.mark.parametrize("mesh", [(1, 2), (2, 1)], ids=["experts over ranks", "replicas"])
def test_fsdp_around_the_experts_equals_one_process(ranks, mesh):
    _, found = ranks
    first, second = (result["fsdp", *mesh] for result in found)
    model = Small()
    model(images()).square().mean().backward()
    for name, parameter in model.named_parameters():
        spread = ".residual." in name and mesh[1] == 2
        ours = torch.cat([first[name], second[name]]) if spread else first[name]
        torch.testing.assert_close(ours, parameter.grad, **TOLERANCE)


def model_parallel(rank: int, folder: str) -> None:
    from pytorch_lightning import Trainer
    from pytorch_lightning.strategies import ModelParallelStrategy

    class Module(lightning_module(False).__class__):
        def __init__(self):
            super().__init__()
            self.net.float()  # the strategy takes no float64

        def configure_model(self):
            mesh = dist.device_mesh.init_device_mesh("cpu", (1, 2), mesh_dim_names=("dp", "ep"))
            fully_shard_around(self.net, mesh)

        def on_before_optimizer_step(self, optimizer):
            finish_gradients(self.net)

    module = Module()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images().float()), batch_size=4, shuffle=False)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        max_steps=1,
        enable_model_summary=False,
        default_root_dir=folder,
        **quiet,
    )
    trainer.fit(module, loader)
    found = {name: value.full_tensor().detach() for name, value in module.net.named_parameters()}
    torch.save(found, f"{folder}/model_parallel{rank}.pt")


def test_a_step_of_lightnings_model_parallel_strategy_equals_one_process(tmp_path):
    two_ranks.run(model_parallel, str(tmp_path))
    first, second = (torch.load(tmp_path / f"model_parallel{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in lightning_step(str(tmp_path), 1).items():
        ours = torch.cat([first[name], second[name]]) if ".residual." in name else first[name]
        torch.testing.assert_close(ours, value.float(), rtol=1e-5, atol=1e-6)


def test_globally_balanced_losses_are_those_of_all_tokens(ranks):
    _, found = ranks
    layer = made("factored")
    layer(torch.cat(tokens("unequal")))
    losses = auxiliary_losses(layer, AUXILIARY)
    sum(losses.values()).backward()
    for result in found:
        for name, value in losses.items():
            torch.testing.assert_close(result["global"][name], value.detach(), **TOLERANCE)
        torch.testing.assert_close(result["global"]["gradient"], layer.router.weight.grad, **TOLERANCE)


def test_gradients_are_clipped_by_the_norm_over_all_shards(ranks):
    _, found = ranks
    model = Small()
    model(images()).square().mean().backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    for result in found:
        assert float(result["norm"]) == pytest.approx(float(norm), rel=1e-5)


@pytest.mark.parametrize("name", ["sharded", "fsdp12", "fsdp21"])
def test_a_sharded_checkpoint_loads_on_one_process(ranks, name):
    folder, found = ranks
    assert all(result["loaded"] for result in found)
    model = Small()
    wanted = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    dcp.load(model.state_dict(), checkpoint_id=f"{folder}/{name}")
    for name, value in model.state_dict().items():
        assert torch.equal(value, wanted[name]), name


def test_experts_that_do_not_divide_are_refused(monkeypatch):
    monkeypatch.setattr(dist, "get_world_size", lambda group=None: 3)
    monkeypatch.setattr(dist, "get_rank", lambda group=None: 0)
    model = nn.Sequential(made("factored"))
    with pytest.raises(UserError, match="0 has 4 experts, which do not divide evenly over 3 processes"):
        shard_experts(model)
    assert next(moe_layers(model))[1].exchange is None
