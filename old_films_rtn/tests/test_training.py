"""Training through the command line: what is learned, resumed, averaged, and shared between processes."""

import csv
from pathlib import Path

import pytest
import torch

from old_films_rtn import figures, pretrained
from old_films_rtn.commands import train
from old_films_rtn.lightning_module import RestorationModule
from old_films_rtn.models import discriminator
from old_films_rtn.models.rtn import RTN
from shared_utils import UserError

TINY = [
    *("--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false"),
    *("--model.channels", "8", "--model.width", "16", "--model.depths", "[1]", "--model.num_heads", "1"),
    *("--data.crop", "32", "--data.eval_crop", "32", "--data.num_frames", "3", "--data.eval_frames", "3"),
    *("--data.samples_per_epoch", "3", "--data.eval_samples", "[1, 1]", "--model.schedule", "constant"),
]


def rows(folder):
    """Logged values by (step, name)."""
    with (Path(folder) / "metrics.csv").open(newline="") as file:
        return {
            (int(row["step"]), name): float(value)
            for row in csv.DictReader(file)
            for name, value in row.items()
            if value and name not in ("step", "epoch")
        }


@pytest.fixture
def undrawn(monkeypatch):
    """Runs that are compared by their weights draw no figure, which takes as long as training them."""
    monkeypatch.setattr(figures, "comparison", lambda *_: None)


def test_training_leaves_a_checkpoint_that_loads(scratch, capsys):
    assert train.main(["--config", "--name", "a", *TINY]) == 0
    assert Path("runs/a/version_0/figures/held_out.png").stat().st_size > 1000
    assert "evaluate.py --ckpt runs/a/version_0" in capsys.readouterr().out
    loaded = pretrained.load("runs/a")
    assert loaded.raft is None and loaded.rtn.options["width"] == 16 and not loaded.rtn.tanh_residual
    logged = rows("runs/a/version_0")
    assert {name for _, name in logged} >= {"train_loss", "val_psnr", "val_psnr_inside", "val_mask_auroc"}


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(scratch, undrawn, monkeypatch):
    """With a discriminator of fewer channels: the published one and its optimizer are 50 MB in every checkpoint."""
    monkeypatch.setitem(discriminator.WIDTHS, 2, (8, 16, 16))
    options = [*TINY, "--model.ema", "0.9", "--model.adversarial", "hinge"]
    assert train.main(["--config", "--name", "whole", *options]) == 0
    assert train.main(["--config", "--name", "parts", *options, "--trainer.max_epochs", "1"]) == 0
    assert train.main(["--config", "--name", "parts", *options, "--resume"]) == 0
    whole, parts = rows("runs/whole/version_0"), rows("runs/parts/version_0")
    assert {name for _, name in whole} >= {"train_discriminator", "train_adversarial", "train_pixel"}
    assert whole == parts
    first, second = (pretrained.load(f"runs/{name}").rtn.state_dict() for name in ("whole", "parts"))
    assert all(map(torch.equal, first.values(), second.values()))


def test_a_mistake_is_one_line(scratch, capsys):
    for arguments, said in (
        (["--model.flow", "raft:missing.pth"], "missing.pth not found"),
        (["--model.perceptual", "missing.pth"], "vgg19-dcbb9e9d.pth"),
        (["--data.root", "nowhere"], "nowhere not found"),
        (["--data.crop", "40"], "multiples of 16"),
        (["--model.channel", "8"], "did you mean model.channels?"),
        (["--resume", "--name", "never"], "nothing to resume"),
    ):
        assert train.main(["--config", *TINY, *arguments]) == 2
        printed = capsys.readouterr().err.strip().splitlines()
        assert said in printed[-1] and "Traceback" not in "".join(printed)


def batch(t=3, size=32):
    torch.manual_seed(1)
    clip, target = torch.rand(2, 1, t, 3, size, size) * 2 - 1
    flows = torch.randn(2, 1, t - 1, 2, size, size)
    return {
        "lq": clip,
        "gt": target,
        "mask": torch.zeros(1, t, 1, size, size),
        "forward_flow": flows[0],
        "backward_flow": flows[1],
    }


def test_single_frames_are_the_same_network_without_its_neighbours():
    torch.manual_seed(0)
    options = {"channels": 8, "width": 16, "depths": (1,), "num_heads": 1}
    single, recurrent = RestorationModule(**options, single_frame=True), RestorationModule(**options)
    single.rtn.load_state_dict(recurrent.rtn.state_dict())
    given = batch()
    alone = single.restore(single.rtn, given)[0]
    frame = given["lq"][:, 1:2]
    nothing = frame.new_zeros(1, 0, 2, 32, 32)
    assert torch.allclose(alone[:, 1:2], single.rtn(frame, nothing, nothing)[0], atol=1e-6)
    assert single.restore(single.rtn, given)[1] is None and recurrent.restore(recurrent.rtn, given)[1].shape[1] == 3


def test_known_flow_needs_clips_that_are_made():
    module = RestorationModule(channels=8, width=16, depths=(1,), num_heads=1)
    given = batch()
    del given["forward_flow"]
    with pytest.raises(UserError, match="dis or raft"):
        module.restore(module.rtn, given)


def test_bfloat16_stays_close_to_single_precision():
    torch.manual_seed(0)
    rtn, given = RTN(8, 32, (2,), 2, tanh_residual=False).eval(), batch()
    with torch.no_grad():
        torch.nn.init.normal_(rtn.output.weight, 0, 0.05)
        full = rtn(given["lq"], given["forward_flow"], given["backward_flow"])[0]
        with torch.autocast("cpu", torch.bfloat16):
            half = rtn(given["lq"], given["forward_flow"], given["backward_flow"])[0]
    error = ((full - half.float()) / 2).square().mean()
    assert -10 * torch.log10(error) > 40


def test_two_processes_train_as_one_on_both_their_clips(scratch, undrawn):
    """A batch of two clips on one process, and one clip on each of two: the same mean gradient, the same weights."""
    shared = [*TINY, "--trainer.max_epochs", "1", "--data.samples_per_epoch", "4", "--model.warmup_steps", "0"]
    forked = ["--trainer.devices", "2", "--trainer.strategy", "ddp_fork"]
    weights = {}
    for name, options in (
        ("one", ["--data.batch_size", "2"]),
        ("two", forked),
        ("half", ["--data.samples_per_epoch", "2"]),
    ):
        assert train.main(["--config", "--name", name, *shared, *options]) == 0
        weights[name] = pretrained.load(f"runs/{name}/version_0/checkpoints/last.ckpt").rtn.state_dict()

    def apart(a, b):
        return sum(float((weights[a][name] - weights[b][name]).abs().sum()) for name in weights["one"])

    assert apart("one", "two") < 0.05 * apart("one", "half")


def alone(module, logged):
    """The module outside of a trainer: it steps with a rate of nothing, and what it logs is put into ``logged``."""
    module.optimizers = lambda: torch.optim.SGD(module.rtn.parameters(), 0.0)
    module.manual_backward, module.lr_schedulers = torch.Tensor.backward, list
    module.log_dict = lambda values, **_: logged.update(values)
    return module


def test_a_pixel_of_a_true_defect_counts_more():
    """Every pixel is off by one, a quarter of them in defects."""
    for weight, expected in ((0.0, 1), (5.0, 1 + 5 / 4)):
        torch.manual_seed(0)
        logged = {}
        module, given = alone(RestorationModule(8, 16, (1,), 1, defect_weight=weight), logged), batch()
        given["mask"][..., :8, :] = 1
        given["gt"] = module.restore(module.rtn, given)[0].detach() - 1
        module.training_step(given, 0)
        assert abs(float(logged["train_pixel"]) - expected) < 1e-5


def test_every_second_batch_is_one_that_a_pass_has_restored():
    torch.manual_seed(0)
    module, given, seen = alone(RestorationModule(8, 16, (1,), 1, passes=2), {}), batch(), []
    with torch.no_grad():
        module.rtn.output.bias.fill_(0.3)
    restore = module.restore
    module.restore = lambda rtn, batch: seen.append(batch["lq"]) or restore(rtn, batch)
    module.training_step(given, 0)
    assert len(seen) == 1 and torch.equal(seen[0], given["lq"])
    module.training_step(given, 1)
    assert len(seen) == 3 and torch.equal(seen[1], given["lq"])
    assert torch.allclose(seen[2], restore(module.rtn, given)[0], atol=1e-6)  # every pixel changed by more than allowed
    with pytest.raises(UserError, match="passes 0 must be at least 1"):
        RestorationModule(passes=0)


def test_the_average_moves_a_little_towards_the_new_weights_at_every_step():
    torch.manual_seed(0)
    module, given = alone(RestorationModule(8, 16, (1,), 1, ema=0.9), {}), batch()
    before = [parameter.clone() for parameter in module.average.parameters()]
    with torch.no_grad():
        for parameter in module.rtn.parameters():
            parameter.add_(0.01)
    module.training_step(given, 0)
    for old, mean in zip(before, module.average.parameters(), strict=True):
        assert torch.allclose(mean, old + 0.001, atol=1e-6)
