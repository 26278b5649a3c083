"""train as it is typed, the published recipes, and what it answers to mistakes."""

import numpy as np
import pytest
import torch

from incomplete_sensing import pretrained
from incomplete_sensing.operators import OperatorOptions, draw_operators, write_operators


def test_training_leaves_a_run_with_its_operators_and_a_picture(trained):
    assert (trained / "config.yaml").is_file() and (trained / "figures" / "training.png").stat().st_size > 1000
    reconstructor = pretrained.load(trained)
    assert reconstructor.operators.num_operators == 10
    assert reconstructor.data["operators"]["num_measurements"] == 24


def test_method_is_short_for_the_two_keys_it_stands_for(tmp_path, capsys, run, short):
    config = "configs/digits_cs.yaml"
    assert run("train", "--config", config, "--method", "sup", *short(tmp_path, 1)) == 0
    assert "verdict" in capsys.readouterr().out
    assert run("train", "--config", config, "--method=split", *short(tmp_path, 1)) == 0
    assert pretrained.load(tmp_path / "digits_cs" / "version_1").split_share == 0.6


@pytest.mark.parametrize("flag", ["--trainer.fast_dev_run", "--trainer.logger=false"])
def test_lightnings_own_flags_work(tmp_path, flag, run, short):
    flags = (flag,) if "=" in flag else (flag, "true")
    assert run("train", "--config", "configs/digits_cs.yaml", *short(tmp_path, 1), *flags) == 0


def test_interrupted_training_continues_as_if_it_had_not_been(tmp_path, run, short):
    config = ("--config", "configs/digits_cs.yaml", "--model.cosine", "false")
    assert run("train", *config, *short(tmp_path / "whole", 4)) == 0
    assert run("train", *config, *short(tmp_path / "parts", 2)) == 0
    assert run("train", *config, "--resume", *short(tmp_path / "parts", 4)) == 0
    whole, parts = (
        pretrained.load(tmp_path / name / "digits_cs" / "version_0" / "checkpoints" / "last.ckpt").state_dict()
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("--data.operators.num_measurements", 65),
            "num_measurements of gaussian operators must lie in 1 .. n = 64, got 65",
        ),
        (("--data.operators.num_operators", 0), "num_operators must be at least 1, got 0"),
        (("--data.model_dimension", 64), "k = 64 with n = 64"),
        (("--data.num_train", 5), "5 images are fewer than 10 operators"),
        (("--data.root", "nowhere"), "data folder nowhere not found"),
        (("--data.operators.kind", "file"), "give operators.path"),
        (("--data.operators.kind", "mask", "--data.operators.num_measurements", "null"), "masks need one of keep"),
        (("--model.consistency_weight", 0), "a constant network is optimal"),
        (("--model.network", "{name: resnet}"), "unknown network 'resnet'"),
        (("--model.transform", "zoom"), "unknown transform 'zoom'"),
        (("--method", "sup", "--data.truth", "false"), "needs the truth"),
        (("--data.truth", "true"), "takes no truth"),
        (("--data.noise_sigma", -1), "not negative"),
        (("--model.methd", "moi"), "unknown argument model.methd: did you mean model.method?"),
    ],
)
def test_training_answers_mistakes_in_one_line(fails, tmp_path, overrides, message):
    config = "configs/digits_cs.yaml"
    short = () if "--data.num_train" in overrides else ("--data.num_train", 100)
    fails(message, "train", "--config", config, "--trainer.default_root_dir", tmp_path, *short, *overrides)


def test_missing_data_are_named_with_where_to_get_them(fails, tmp_path):
    config = "configs/mnist_cs.yaml"
    (tmp_path / "data").mkdir()
    arguments = ("--data.root", tmp_path / "data", "--trainer.default_root_dir", tmp_path)
    fails("torchvision.datasets.MNIST(root, download=True)", "train", "--config", config, *arguments)


def test_masks_with_other_values_are_refused(fails, tmp_path):
    np.savez(tmp_path / "masks.npz", masks=np.full((2, 8, 8), 0.5))
    arguments = ("--data.operators.kind", "file", "--data.operators.path", tmp_path / "masks.npz")
    config = "configs/digits_cs.yaml"
    fails("masks.npz: masks hold values other than 0 and 1", "train", "--config", config, *arguments)
    np.savez(tmp_path / "masks.npz", masks=np.stack([np.ones((8, 8)), np.zeros((8, 8))]))
    fails("operator 1 keeps nothing", "train", "--config", config, *arguments)


def test_repeated_operators_are_trained_on_with_a_warning(tmp_path, run, short):
    family = draw_operators(OperatorOptions("gaussian", 2, 24), (1, 8, 8)).subset([0, 1, 0])
    write_operators(family, tmp_path / "operators.npz")
    config = "configs/digits_cs.yaml"
    operators = ("--data.operators.kind", "file", "--data.operators.path", tmp_path / "operators.npz")
    assert run("train", "--config", config, *operators, *short(tmp_path, 1)) == 0
    assert pretrained.load(tmp_path / "digits_cs").operators.num_operators == 3


def _published_data(name, root):
    """Forty-odd images in the layout that a published recipe reads."""
    rng = np.random.default_rng(0)
    if name.startswith("mnist"):
        for split, count in (("train", 50), ("t10k", 10)):
            (root / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
            header = np.array([2051, count, 28, 28], ">i4").tobytes()
            pixels = rng.integers(256, size=count * 784, dtype=np.uint8).tobytes()
            (root / "MNIST" / "raw" / f"{split}-images-idx3-ubyte").write_bytes(header + pixels)
        return root
    if name.startswith("celeba"):
        from PIL import Image

        for split, count in (("train", 41), ("test", 2)):
            (root / split / "faces").mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(256, size=(40, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / "faces" / f"{number}.jpg")
        return root
    torch.save(torch.rand(46, 70, 64), root / "knee.pt")
    return root / "knee.pt"


@pytest.mark.parametrize("name", ["mnist_cs", "mnist_inpainting", "celeba_inpainting", "fastmri_x4"])
def test_published_recipes_run_on_their_layouts(tmp_path, name, capsys, run):
    network = (
        "{name: autoencoder, dim_hid: 20, width: 20}" if name.startswith("mnist") else "{name: unet, base_channels: 2}"
    )
    size = () if name.startswith("mnist") else ("--data.image_size", 32 if name.startswith("celeba") else 64)
    status = run(
        *("train", "--config", f"configs/{name}.yaml", "--data.root", _published_data(name, tmp_path)),
        *("--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--trainer.default_root_dir", tmp_path / "runs", "--model.network", network, *size, "--data.num_workers", 0),
    )
    printed = capsys.readouterr().out
    assert status == 0 and "G = 40 operators" in printed
    assert ("almost every operator; these have structure" in printed) == (name != "mnist_cs")
    assert pretrained.load(tmp_path / "runs" / name).operators.num_operators == 40


def test_a_fitted_method_is_trained_as_any_other(tmp_path, run, short, capsys):
    arguments = short(tmp_path)[:-2]  # its network is a mixture, whatever the configuration says
    assert run("train", "--config", "configs/digits_cs.yaml", *arguments, "--method", "gaussian") == 0
    assert list(tmp_path.rglob("checkpoints/*.ckpt"))
