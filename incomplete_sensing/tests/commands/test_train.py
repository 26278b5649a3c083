"""train, evaluate, reconstruct, import_checkpoint and export as they are typed, and what they answer to mistakes."""

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from incomplete_sensing import pretrained
from incomplete_sensing.models import AutoEncoder, UNet
from incomplete_sensing.operators import OperatorOptions, draw_operators, write_operators
from incomplete_sensing.reconstructor import Reconstructor

PROJECT = Path(__file__).parents[1]
REAL = PROJECT.parents[1] / "shared" / "data" / "incomplete_sensing"


def run(verb, *arguments):
    """The verb's ``main`` in this process; its exit status."""
    spec = importlib.util.spec_from_file_location(f"verb_{verb}", PROJECT / f"{verb}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short training on few digits."""
    root = tmp_path_factory.mktemp("runs")
    status = run("train", "--config", PROJECT / "configs" / "digits_cs.yaml", *_short(root))
    assert status == 0
    return root / "digits_cs" / "version_0"


def _short(root, epochs=3):
    return (
        *("--trainer.default_root_dir", root, "--trainer.max_epochs", epochs),
        *("--data.num_train", 200, "--data.num_test", 40, "--model.network", "{name: mlp, hidden: [32]}"),
    )


def test_training_leaves_a_run_with_its_operators_and_a_picture(trained):
    assert (trained / "config.yaml").is_file() and (trained / "figures" / "training.png").stat().st_size > 1000
    reconstructor = pretrained.load(trained)
    assert reconstructor.operators.num_operators == 10
    assert reconstructor.data["operators"]["num_measurements"] == 24


def test_method_is_short_for_the_two_keys_it_stands_for(tmp_path, capsys):
    config = PROJECT / "configs" / "digits_cs.yaml"
    assert run("train", "--config", config, "--method", "sup", *_short(tmp_path, 1)) == 0
    assert "verdict" in capsys.readouterr().out
    assert run("train", "--config", config, "--method=split", *_short(tmp_path, 1)) == 0
    assert pretrained.load(tmp_path / "digits_cs" / "version_1").split_share == 0.6


def test_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path):
    config = ("--config", PROJECT / "configs" / "digits_cs.yaml", "--model.cosine", "false")
    assert run("train", *config, *_short(tmp_path / "whole", 4)) == 0
    assert run("train", *config, *_short(tmp_path / "parts", 2)) == 0
    assert run("train", *config, "--resume", *_short(tmp_path / "parts", 4)) == 0
    whole, parts = (
        pretrained.load(tmp_path / name / "digits_cs" / "version_0" / "checkpoints" / "last.ckpt").state_dict()
        for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_evaluation_reports_seen_and_unseen_operators_apart(trained, tmp_path, capsys):
    assert run("evaluate", "--ckpt", trained, "--out", tmp_path) == 0
    said = capsys.readouterr().out
    assert "seen" in said and "unseen" in said and "residual" in said
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["operators"] for row in rows] == ["seen"] * 40 + ["unseen"] * 40
    assert all(float(row["psnr"]) > 0 for row in rows)
    assert (tmp_path / "panels.png").stat().st_size > 1000


def _measurements(folder, trained, **arrays):
    operators = pretrained.load(trained).operators
    g = np.arange(7) % 10
    y = operators(torch.rand(7, 1, 8, 8), torch.from_numpy(g)).numpy()
    np.savez(folder / "y.npz", **{"y": y, "g": g, **arrays})
    return folder / "y.npz"


def test_new_measurements_are_reconstructed_without_truth(trained, tmp_path):
    path = _measurements(tmp_path, trained)
    assert (
        run("reconstruct", "--ckpt", trained, "--measurements", path, "--out", tmp_path / "out", "--batch_size", 3) == 0
    )
    found = np.load(tmp_path / "out" / "reconstructions.npz")
    arrays = np.load(path)
    reconstructor = pretrained.load(trained)
    with torch.no_grad():
        expected = reconstructor(torch.from_numpy(arrays["y"]), torch.from_numpy(arrays["g"]))
    assert np.allclose(found["x"], expected, atol=1e-6) and found["g"].tolist() == arrays["g"].tolist()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["panels.png", "reconstructions.npz"]


def test_interrupted_reconstruction_keeps_what_is_finished(trained, tmp_path, monkeypatch):
    from incomplete_sensing import evaluation

    path = _measurements(tmp_path, trained)
    arguments = ("--ckpt", trained, "--measurements", path, "--out", tmp_path / "out", "--batch_size", 3)
    done, original = [], evaluation.consistency_residual

    def interrupted(*inputs):
        done.append(len(inputs[0]))
        if len(done) == 2:
            raise KeyboardInterrupt
        return original(*inputs)

    monkeypatch.setattr(evaluation, "consistency_residual", interrupted)
    assert run("reconstruct", *arguments) == 130
    assert run("reconstruct", *arguments) == 0
    assert done == [3, 3, 3, 1]  # the first part was not done again


def test_pseudo_inverse_needs_no_checkpoint(tmp_path):
    family = draw_operators(OperatorOptions("mask", 2, keep=0.5), (3, 6, 5))
    write_operators(family, tmp_path / "operators.npz")
    y = family(torch.rand(2, 3, 6, 5), torch.tensor([0, 1])).numpy()
    np.savez(tmp_path / "y.npz", y=y, g=[0, 1])
    arguments = ("--measurements", tmp_path / "y.npz", "--operators", tmp_path / "operators.npz", "--out", tmp_path)
    assert run("reconstruct", *arguments) == 0
    assert np.allclose(np.load(tmp_path / "reconstructions.npz")["x"], y)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}")
def test_the_real_scan_is_reconstructed_from_itself(tmp_path):
    from incomplete_sensing.data.bart import read_cfl

    scan = REAL / "mri" / "brain_8ch"
    assert run("reconstruct", "--measurements", scan / "ksp.cfl", "--out", tmp_path) == 0
    found = np.abs(np.load(tmp_path / "reconstructions.npz")["x"])
    reference = np.abs(read_cfl(scan / "img")[0, :, :, 0, 0])
    # Only to compare: scales differ, so each is held against its best multiple of the reference.
    errors = [
        np.linalg.norm(image - reference * (image * reference).sum() / (reference**2).sum()) / np.linalg.norm(image)
        for image in found
    ]
    assert errors[1] < 0.2 < errors[0]


# Published checkpoints, and forms that others want ---------------------------------------------------------------------


def test_published_checkpoint_becomes_one_of_ours(tmp_path, capsys):
    network = AutoEncoder(16, 6, width=10).eval()
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, tmp_path / "ckp_1.pth.tar")
    matrices = np.random.default_rng(0).standard_normal((2, 5, 16))
    (tmp_path / "physics").mkdir()
    for g, matrix in enumerate(matrices):
        torch.save([matrix, np.linalg.pinv(matrix)], tmp_path / "physics" / f"forw_cs_5x16_G2_g{g}.pt")
    status = run(
        *("import_checkpoint", "--from", "moi", tmp_path / "ckp_1.pth.tar"),
        *("--operators", tmp_path / "physics", "--out", tmp_path / "imported"),
    )
    assert status == 0 and "8 entries matched" in capsys.readouterr().out
    reconstructor = pretrained.load(tmp_path / "imported")
    y = torch.rand(3, 5)
    expected = network((y @ torch.from_numpy(np.linalg.pinv(matrices[1]).T).float()).reshape(3, 1, 4, 4))
    assert torch.allclose(reconstructor(y, 1), expected, atol=1e-5)


@pytest.mark.parametrize("form", ["pretrained", "published", "torchscript", "pt2", "onnx"])
def test_exports_give_the_same_output(trained, tmp_path, form):
    if form == "onnx":
        pytest.importorskip("onnxscript")
    source = trained
    if form == "published":
        network = UNet(1, 1, base_channels=2)
        Reconstructor.of(
            draw_operators(OperatorOptions("mask", 1, keep=0.5), (1, 8, 8)), {"name": "unet", "base_channels": 2}
        )
        torch.save({"state_dict": network.state_dict()}, tmp_path / "net.pth.tar")
        assert run("import_checkpoint", tmp_path / "net.pth.tar", "--out", tmp_path / "net") == 0
        source = tmp_path / "net"
    out = tmp_path / f"exported.{form}"
    assert run("export", "--ckpt", source, "--out", out, "--to", form) == 0
    x = torch.rand(1, 1, 8, 8)
    original = pretrained.load(source)
    if form == "pretrained":
        again = pretrained.load(out)
        y = torch.rand(2, 24)
        assert torch.equal(again(y, 3), original(y, 3))
    elif form == "published":
        state = torch.load(out, weights_only=True)["state_dict"]
        assert all(torch.equal(state[name], value) for name, value in original.network.state_dict().items())
    elif form == "torchscript":
        assert torch.allclose(torch.jit.load(str(out))(x), original.network(x), atol=1e-6)
    elif form == "pt2":
        assert torch.allclose(torch.export.load(str(out)).module()(x), original.network(x), atol=1e-6)
    else:
        assert out.stat().st_size > 1000  # compared by the command itself


# Mistakes --------------------------------------------------------------------------------------------------------------


def _fails(capsys, message, *arguments):
    before = capsys.readouterr()
    assert run(*arguments) == 2, before
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert len([line for line in error.splitlines() if ": error: " in line]) == 1


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
def test_training_answers_mistakes_in_one_line(capsys, tmp_path, overrides, message):
    config = PROJECT / "configs" / "digits_cs.yaml"
    short = () if "--data.num_train" in overrides else ("--data.num_train", 100)
    _fails(capsys, message, "train", "--config", config, "--trainer.default_root_dir", tmp_path, *short, *overrides)


def test_missing_data_are_named_with_where_to_get_them(capsys, tmp_path):
    config = PROJECT / "configs" / "mnist_cs.yaml"
    (tmp_path / "data").mkdir()
    arguments = ("--data.root", tmp_path / "data", "--trainer.default_root_dir", tmp_path)
    _fails(capsys, "torchvision.datasets.MNIST(root, download=True)", "train", "--config", config, *arguments)


def test_masks_with_other_values_are_refused(capsys, tmp_path):
    np.savez(tmp_path / "masks.npz", masks=np.full((2, 8, 8), 0.5))
    arguments = ("--data.operators.kind", "file", "--data.operators.path", tmp_path / "masks.npz")
    config = PROJECT / "configs" / "digits_cs.yaml"
    _fails(capsys, "masks.npz: masks hold values other than 0 and 1", "train", "--config", config, *arguments)
    np.savez(tmp_path / "masks.npz", masks=np.stack([np.ones((8, 8)), np.zeros((8, 8))]))
    _fails(capsys, "operator 1 keeps nothing", "train", "--config", config, *arguments)


def test_repeated_operators_are_trained_on_with_a_warning(tmp_path, caplog):
    family = draw_operators(OperatorOptions("gaussian", 2, 24), (1, 8, 8)).subset([0, 1, 0])
    write_operators(family, tmp_path / "operators.npz")
    config = PROJECT / "configs" / "digits_cs.yaml"
    operators = ("--data.operators.kind", "file", "--data.operators.path", tmp_path / "operators.npz")
    assert run("train", "--config", config, *operators, *_short(tmp_path, 1)) == 0
    assert pretrained.load(tmp_path / "digits_cs").operators.num_operators == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"g": np.full(7, 12)}, "unknown operator 12 in g; known are 0 .. 9"),
        ({"y": np.zeros((7, 23))}, "y has shape (7, 23), expected (N, 24)"),
        ({"y": np.full((7, 24), np.nan)}, "measurement 0 holds NaN"),
    ],
)
def test_reconstruction_answers_mistakes_in_one_line(capsys, trained, tmp_path, arrays, message):
    path = _measurements(tmp_path, trained, **arrays)
    out = tmp_path / "out"
    _fails(capsys, message, "reconstruct", "--ckpt", trained, "--measurements", path, "--out", out)
    assert not out.exists()


def test_missing_and_foreign_files_are_named(capsys, trained, tmp_path):
    (tmp_path / "other.ckpt").write_bytes(b"nothing")
    out = ("--out", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    _fails(capsys, "no checkpoint in", "evaluate", "--ckpt", tmp_path / "empty")
    _fails(capsys, "other.ckpt", "evaluate", "--ckpt", tmp_path / "other.ckpt")
    _fails(capsys, "y.npz not found", "reconstruct", "--ckpt", trained, "--measurements", tmp_path / "y.npz", *out)
    _fails(
        capsys, "give a checkpoint (--ckpt), or operators", "reconstruct", "--measurements", tmp_path / "y.npz", *out
    )
    _fails(capsys, "nothing.pth not found", "import_checkpoint", tmp_path / "nothing.pth")
    torch.save({"state_dict": {}, "reconstructor": 1}, tmp_path / "foreign.pth")
    _fails(capsys, "belong to none of", "import_checkpoint", tmp_path / "foreign.pth")


@pytest.mark.parametrize("verb", ["train", "evaluate", "reconstruct", "import_checkpoint", "export"])
def test_help_answers_without_torch(verb):
    code = (
        "import sys, runpy; sys.argv = [sys.argv[1], '--help']\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, f"{verb}.py"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_verbs_that_do_not_train_leave_lightning_alone(trained, tmp_path):
    code = (
        "import sys, evaluate; status = evaluate.main(sys.argv[1:])\n"
        "heavy = [name for name in ('pytorch_lightning', 'torchmetrics', 'torchvision') if name in sys.modules]\n"
        "assert status == 0 and not heavy, heavy"
    )
    arguments = ["--ckpt", str(trained), "--out", str(tmp_path), "--limit", "20"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Recipes ---------------------------------------------------------------------------------------------------------------


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
def test_published_recipes_run_on_their_layouts(tmp_path, name, capsys):
    network = (
        "{name: autoencoder, dim_hid: 20, width: 20}" if name.startswith("mnist") else "{name: unet, base_channels: 2}"
    )
    size = () if name.startswith("mnist") else ("--data.image_size", 32 if name.startswith("celeba") else 64)
    status = run(
        *("train", "--config", PROJECT / "configs" / f"{name}.yaml", "--data.root", _published_data(name, tmp_path)),
        *("--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
        *("--trainer.default_root_dir", tmp_path / "runs", "--model.network", network, *size, "--data.num_workers", 0),
    )
    said = capsys.readouterr().out
    assert status == 0 and "G = 40 operators" in said
    assert ("almost every operator; these have structure" in said) == (name != "mnist_cs")
    assert pretrained.load(tmp_path / "runs" / name).operators.num_operators == 40


def test_scores_do_not_depend_on_the_number_of_processes(trained, tmp_path):
    arguments = [
        "evaluate.py",
        "--ckpt",
        str(trained),
        "--device",
        "cpu",
        "--batch_size",
        "7",
        "--unseen",
        "0",
        "--out",
    ]
    for launcher, out in (
        ([sys.executable], "one"),
        ([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"], "two"),
    ):
        done = subprocess.run([*launcher, *arguments, str(tmp_path / out)], cwd=PROJECT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / "scores.csv").read_text() == (tmp_path / "two" / "scores.csv").read_text()
