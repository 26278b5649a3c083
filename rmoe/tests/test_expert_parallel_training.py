"""``train`` with experts over two processes: the training of one process, whole checkpoints, and what it refuses."""

import contextlib
import io
import os

import pytest
import torch
import two_ranks

from rmoe import pretrained
from rmoe.commands.train import main
from rmoe.moe import moe_layers

# Deterministic to the last digits: float64, one loss that is a mean of equal parts, no auxiliary loss (which is of local
# tokens), nothing that is drawn in training.
CONFIG = ("--config", "default.yaml", "--trainer.callbacks", "null", "--trainer.precision", "64-true")
CONFIG += ("--data.num_train", "64", "--data.num_val", "8", "--data.eval_batch_size", "4")
CONFIG += ("--model.recipe.auxiliary_losses", "{}", "--model.recipe.schedule", "constant")
CONFIG += ("--model.mixture.options.router_noise", "0.0", "--model.mixture.options.router_init_std", "1.0")
TWO = (
    "--trainer.devices",
    "2",
    "--trainer.strategy",
    "ddp",
    "--data.batch_size",
    "16",
    "--model.recipe.expert_parallel",
)
TWO += ("true",)


def train(root, epochs, *arguments):
    return main([*CONFIG, "--trainer.max_epochs", str(epochs), "--trainer.default_root_dir", str(root), *arguments])


def last(root):
    return torch.load(root / "default" / "version_0" / "checkpoints" / "last.ckpt", weights_only=True)


def work(rank, folder):
    code = train(folder / "two", 1, *TWO)
    refused = train(folder / "odd", 1, *TWO, "--model.mixture.experts", "3")
    fsdp = ("--trainer.strategy", "{class_path: pytorch_lightning.strategies.ModelParallelStrategy}")
    with contextlib.redirect_stderr(io.StringIO()) as error:
        also_refused = train(folder / "fsdp", 1, *TWO, *fsdp, "--trainer.precision", "32-true")
    torch.save([code, refused, also_refused, error.getvalue(), os.environ["RANK"]], folder / f"{rank}.pt")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder, status codes of the two processes): one epoch on two processes, one and two epochs on one."""
    folder = tmp_path_factory.mktemp("training")
    two_ranks.run(work, folder)
    codes = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert train(folder / "one", 1) == 0 and train(folder / "whole", 2) == 0
    return folder, codes


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            other[name], value, rtol=1e-5, atol=1e-6
        )  # a moment that is lost moves a weight by 1e-2


def test_an_epoch_on_two_processes_is_that_of_one(runs):
    folder, codes = runs
    assert [code[0] for code in codes] == [0, 0]
    one, two = last(folder / "one"), last(folder / "two")
    assert_same(one["state_dict"], two["state_dict"])
    experts = two["state_dict"]["model.backbone.blocks.1.mlp.residual.fc1_weight"]
    assert len(experts) == 8 and (experts.flatten(1).norm(dim=1) > 0).all(), "all experts, of both processes"


def test_the_checkpoint_opens_on_one_process(runs):
    folder, _ = runs
    (_, layer), *_ = moe_layers(pretrained.load(folder / "two" / "default" / "version_0").model)
    assert layer.exchange is None and layer.residual.fc1_weight.shape[0] == 8


def test_another_number_of_processes_continues_it_with_the_moments_of_all_experts(runs):
    folder, _ = runs
    assert train(folder / "two", 2, "--resume") == 0
    assert_same(last(folder / "whole")["state_dict"], last(folder / "two")["state_dict"])


def test_experts_that_do_not_divide_over_the_processes_are_refused_with_status_2(runs):
    assert [code[1] for code in runs[1]] == [2, 2]


def test_fsdp_by_lightnings_strategy_is_refused_with_status_2(runs):
    folder, codes = runs
    assert [code[2] for code in codes] == [2, 2] and not list(folder.glob("fsdp/**/*.ckpt"))
    assert all("ModelParallelStrategy (FSDP2) is not for train" in code[3] for code in codes)
