"""reconstruct as it is typed, and what it answers to mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from incomplete_sensing import pretrained, reconstruction
from incomplete_sensing.operators import OperatorOptions, draw_operators, write_operators

REAL = Path(__file__).parents[4] / "shared" / "data" / "incomplete_sensing"


def _measurements(folder, trained, **arrays):
    operators = pretrained.load(trained).operators
    g = np.arange(7) % 10
    y = operators(torch.rand(7, 1, 8, 8), torch.from_numpy(g)).numpy()
    np.savez(folder / "y.npz", **{"y": y, "g": g, **arrays})
    return folder / "y.npz"


def test_new_measurements_are_reconstructed_without_truth(trained, tmp_path, run):
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
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == [".lock", "job.json", "panels.png", "reconstructions.npz"]


def test_an_interrupted_reconstruction_keeps_what_is_finished(trained, tmp_path, monkeypatch, run, fails):
    path = _measurements(tmp_path, trained)
    arguments = ("--ckpt", trained, "--measurements", path, "--out", tmp_path / "out", "--batch_size", 3)
    done, original = [], reconstruction.consistency_residual

    def interrupted(*inputs):
        done.append(len(inputs[0]))
        if len(done) == 2:
            raise KeyboardInterrupt
        return original(*inputs)

    monkeypatch.setattr(reconstruction, "consistency_residual", interrupted)
    assert run("reconstruct", *arguments) == 130
    fails("continue it with --resume", "reconstruct", *arguments)
    fails("begun as another job (batch_size 3, now 2)", "reconstruct", *arguments[:-1], 2, "--resume")
    assert run("reconstruct", *arguments, "--resume") == 0
    assert done == [3, 3, 3, 1]  # the first part was not done again
    assert run("reconstruct", *arguments, "--resume") == 0
    assert done == [3, 3, 3, 1]


def test_other_measurements_or_another_model_do_not_continue(trained, tmp_path, run, fails):
    path = _measurements(tmp_path, trained)
    arguments = ("--ckpt", trained, "--measurements", path, "--out", tmp_path / "out")
    assert run("reconstruct", *arguments) == 0
    before = np.load(tmp_path / "out" / "reconstructions.npz")["x"]
    fails("begun as another job (model", "reconstruct", *arguments[2:], "--resume")
    _measurements(tmp_path, trained)
    fails("begun as another job (measurements", "reconstruct", *arguments, "--resume")
    assert np.array_equal(np.load(tmp_path / "out" / "reconstructions.npz")["x"], before)
    assert run("reconstruct", *arguments, "--overwrite") == 0
    assert not np.array_equal(np.load(tmp_path / "out" / "reconstructions.npz")["x"], before)


def test_without_a_checkpoint_the_bundled_model_reconstructs(tmp_path, run):
    operators, g = pretrained.load().operators, np.arange(10)
    np.savez(tmp_path / "y.npz", y=operators(torch.rand(10, 1, 8, 8), torch.from_numpy(g)).numpy(), g=g)
    assert run("reconstruct", tmp_path / "y.npz", "--out", tmp_path / "out") == 0
    assert np.load(tmp_path / "out" / "reconstructions.npz")["x"].shape == (10, 1, 8, 8)


def test_pseudo_inverse_needs_no_checkpoint(tmp_path, run):
    family = draw_operators(OperatorOptions("mask", 2, keep=0.5), (3, 6, 5))
    write_operators(family, tmp_path / "operators.npz")
    y = family(torch.rand(2, 3, 6, 5), torch.tensor([0, 1])).numpy()
    np.savez(tmp_path / "y.npz", y=y, g=[0, 1])
    arguments = (
        "--measurements",
        tmp_path / "y.npz",
        "--operators",
        tmp_path / "operators.npz",
        "--out",
        tmp_path / "out",
    )
    assert run("reconstruct", *arguments) == 0
    assert np.allclose(np.load(tmp_path / "out" / "reconstructions.npz")["x"], y)


def test_a_slice_of_a_multicoil_volume_is_reconstructed(tmp_path, run, fails):
    h5py = pytest.importorskip("h5py")
    from incomplete_sensing.operators.mri import fft2c

    grid = torch.linspace(-1, 1, 24)
    image = torch.exp(-2 * (grid[:, None] ** 2 + grid[None, :] ** 2))
    coils = torch.stack([image * (1 + 0.4 * grid), 1j * image * (1 - 0.4 * grid)])
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = fft2c(coils).expand(3, -1, -1, -1).numpy() * np.array([1, 2, 3]).reshape(3, 1, 1, 1)
    scan = (tmp_path / "scan.h5", "--out", tmp_path / "out")
    assert run("reconstruct", *scan, "--slice_number", 0) == 0
    found = np.load(tmp_path / "out" / "reconstructions.npz")
    expected = coils.abs().square().sum(0).sqrt().numpy()
    assert np.allclose(np.abs(found["x"][0]), expected, atol=0.05)
    fails("no slice 3: it has 0 .. 2", "reconstruct", *scan, "--slice_number", 3, "--overwrite")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}")
def test_the_real_scan_is_reconstructed_from_itself(tmp_path, run):
    from incomplete_sensing.data.bart import read_cfl

    scan = REAL / "mri" / "brain_8ch"
    assert run("reconstruct", "--measurements", scan / "ksp.cfl", "--out", tmp_path) == 0
    found = np.abs(np.load(tmp_path / "reconstructions.npz")["x"])
    reference = np.abs(read_cfl(scan / "img")[0, :, :, 0, 0])
    # Only to compare: scales differ, so each is compared with its best multiple of the reference.
    errors = [
        np.linalg.norm(image - reference * (image * reference).sum() / (reference**2).sum()) / np.linalg.norm(image)
        for image in found
    ]
    assert errors[1] < 0.2 < errors[0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"g": np.full(7, 12)}, "unknown operator 12 in g; known are 0 .. 9"),
        ({"y": np.zeros((7, 23))}, "y has shape (7, 23), expected (N, 24)"),
        ({"y": np.full((7, 24), np.nan)}, "measurement 0 holds NaN"),
    ],
)
def test_reconstruction_answers_mistakes_in_one_line(fails, trained, tmp_path, arrays, message):
    path = _measurements(tmp_path, trained, **arrays)
    out = tmp_path / "out"
    fails(message, "reconstruct", "--ckpt", trained, "--measurements", path, "--out", out)
    assert not out.exists()


def test_missing_measurements_are_named(trained, tmp_path, fails):
    out = ("--out", tmp_path / "out")
    fails("y.npz not found", "reconstruct", "--ckpt", trained, "--measurements", tmp_path / "y.npz", *out)
