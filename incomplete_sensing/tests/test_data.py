"""Layouts as people have them, and measurements of them."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from incomplete_sensing.data.bart import read_cfl, read_multicoil_scan
from incomplete_sensing.data.fastmri import FastMRIVolumes, read_multicoil_slice
from incomplete_sensing.data.images import FileImages, TensorImages
from incomplete_sensing.data.layouts import detect_layout, open_images, read_idx_images
from incomplete_sensing.data.measurements import SimulatedMeasurements, assign_operators, read_measurements
from incomplete_sensing.data.problem import Problem
from incomplete_sensing.noise import Noise
from incomplete_sensing.operators import OperatorOptions, draw_operators, write_operators
from shared_utils import UserError

REAL = Path(__file__).parents[3] / "shared" / "data" / "incomplete_sensing"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no {REAL}")


def _png(path, size=(12, 10), colour=True, value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    pixels = rng.integers(256, size=(*size, 3) if colour else size, dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    Image.fromarray(pixels).save(path)


def _idx(path, count, size=(28, 28)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(count).integers(256, size=(count, *size), dtype=np.uint8)
    content = struct.pack(">IIII", 2051, count, *size) + pixels.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return pixels


def _open(root, layout="auto", image_size=None, halve=False, grey=False, seed=0):
    return open_images(str(root), layout, image_size, halve, grey, seed)


# Images --------------------------------------------------------------------------------------------------------------


def test_embedded_patches_share_no_pixel_between_training_and_test():
    from sklearn.datasets import load_sample_images

    images = open_images(None, "patches", None, False, False, 0)
    train, test = (source.batch(range(len(source)))[0] for source in (images.train, images.test))
    assert images.train.shape == (3, 32, 32) and len(train) > 500 and len(test) > 100
    photographs = [image.astype("float32") / 255 for image in load_sample_images().images]

    def found(patch, image):
        """Columns where the patch stands in a photograph."""
        corners = (abs(image - patch[:, 0, 0]).max(2) < 1e-6).nonzero()
        patch = patch.transpose(1, 2, 0)
        return [
            column
            for row, column in zip(*corners, strict=True)
            if image[row : row + 32, column : column + 32].shape == patch.shape
            and abs(image[row : row + 32, column : column + 32] - patch).max() < 1e-6
        ]

    for part, low, high in ((train, 0, 448 - 32), (test, 448, 640)):
        for patch in part[[0, len(part) // 2, len(part) - 1]].numpy():
            columns = [column for image in photographs for column in found(patch, image)]
            assert columns and all(low <= column <= high for column in columns)
    grey = open_images(None, "patches", 16, False, True, 0)
    assert grey.train.shape == (1, 16, 16) and len(grey.train) > len(train)
    for source in (grey.train, grey.test):
        assert source.batch(range(len(source)))[0].flatten(1).std(1).min() > 0.059
    with pytest.raises(UserError, match="8 to 128 pixels wide, got image_size 200"):
        open_images(None, "patches", 200, False, False, 0)


def test_embedded_digits_are_split_by_the_seed():
    images = open_images(None, "auto", None, False, False, 0)
    assert (len(images.train), len(images.test), images.train.shape) == (1400, 397, (1, 8, 8))
    x, _ = images.train.batch([0, 1])
    assert x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
    again = open_images(None, "auto", None, False, False, 0).train.batch([0, 1])[0]
    other = open_images(None, "auto", None, False, False, 1).train.batch([0, 1])[0]
    assert torch.equal(x, again) and not torch.equal(x, other)


@pytest.mark.parametrize("folder", ["", "MNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_in_torchvisions_layout_or_plain(tmp_path, folder, suffix):
    train = _idx(tmp_path / folder / f"train-images-idx3-ubyte{suffix}", 20)
    _idx(tmp_path / folder / f"t10k-images-idx3-ubyte{suffix}", 10)
    images = _open(tmp_path)
    assert (len(images.train), len(images.test)) == (20, 10)
    assert np.allclose(images.train.batch([3])[0][0, 0], train[3] / 255)


def test_mnist_test_file_alone_is_split(tmp_path):
    _idx(tmp_path / "t10k-images-idx3-ubyte", 10)
    images = _open(tmp_path)
    assert (len(images.train), len(images.test)) == (8, 2)


def test_damaged_mnist_is_named(tmp_path):
    path = tmp_path / "t10k-images-idx3-ubyte"
    _idx(path, 5)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte holds 3919 bytes .* 5 x 28 x 28"):
        read_idx_images(path)
    path.write_bytes(b"something else entirely")
    with pytest.raises(UserError, match="magic number 2051"):
        read_idx_images(path)
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte.* not found"):
        _open(tmp_path / "..", "mnist")


def test_official_celeba_is_split_by_its_partition(tmp_path):
    lines = []
    for number, part in enumerate((0, 0, 1, 2)):
        _png(tmp_path / "img_align_celeba" / f"{number:06d}.jpg", (218, 178))
        lines.append(f"{number:06d}.jpg {part}")
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines))
    images = _open(tmp_path)
    assert (len(images.train), len(images.test), images.train.shape) == (2, 1, (3, 128, 128))
    (tmp_path / "list_eval_partition.txt").write_text("000000.jpg 0\nnonsense\n")
    with pytest.raises(UserError, match="line 2: expected a file name and 0, 1 or 2"):
        _open(tmp_path)


def test_published_image_folders(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        for number in range(count):
            _png(tmp_path / split / "faces" / f"{number}.png", (20, 16))
    images = _open(tmp_path, image_size=8)
    assert (len(images.train), len(images.test), images.train.shape) == (3, 2, (3, 8, 8))
    with pytest.raises(UserError, match="smaller than the crop 64 x 64"):
        _open(tmp_path, image_size=64)


def test_urban100_is_split_in_order_and_halved(tmp_path):
    for number in range(1, 101):
        _png(tmp_path / f"img_{number:03d}.png", (8, 8), value=number)
    images = _open(tmp_path, image_size=8, halve=True, grey=True)
    assert (len(images.train), len(images.test), images.train.shape) == (90, 10, (1, 4, 4))
    assert images.test.batch([0])[0][0, 0, 0, 0] == pytest.approx(91 / 255)


def test_corrupt_images_are_skipped_in_training_and_an_error_in_evaluation(tmp_path, caplog):
    for number in range(3):
        _png(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"not an image")
    source = FileImages(sorted(tmp_path.glob("*.png")))
    images, kept = source.batch([2, 1, 0], skip_corrupt=True)
    assert len(images) == 2 and kept.tolist() == [0, 2]
    assert "1.png" in caplog.text and source.corrupt == {tmp_path / "1.png"}
    with pytest.raises(UserError, match=r"1\.png cannot be read as an image"):
        source.batch([1])


def test_unknown_layouts_list_the_known(tmp_path):
    with pytest.raises(UserError, match="not found: check data.root"):
        detect_layout(tmp_path / "nowhere")
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(UserError, match=r"holds none of: MNIST's idx files, CelebA"):
        detect_layout(tmp_path)


def test_fastmri_tensor_of_magnitudes(tmp_path):
    slices = torch.rand(20, 12, 10)
    torch.save(slices, tmp_path / "knee.pt")
    images = _open(tmp_path / "knee.pt", image_size=8)
    assert (len(images.train), len(images.test), images.train.shape) == (18, 2, (2, 8, 8))
    x, _ = images.test.batch([0])
    assert torch.equal(x[0, 0], slices[18, 2:10, 1:9]) and not x[0, 1].any()


def test_fastmri_volumes(tmp_path):
    h5py = pytest.importorskip("h5py")
    from incomplete_sensing.operators.mri import fft2c

    image = torch.complex(*torch.randn(2, 3, 16, 12))
    for split in ("singlecoil_train", "singlecoil_val"):
        (tmp_path / split).mkdir()
        with h5py.File(tmp_path / split / "file1.h5", "w") as file:
            file["kspace"] = fft2c(image).numpy()
            file["reconstruction_esc"] = image.abs()[:, 4:12, 2:10].numpy()
    images = _open(tmp_path, image_size=8)
    assert (len(images.train), len(images.test)) == (3, 3)
    x, _ = images.train.batch([1])
    peak = image.abs()[:, 4:12, 2:10].max()
    assert torch.allclose(torch.complex(x[0, 0], x[0, 1]), image[1, 4:12, 2:10] / peak, atol=1e-5)
    (tmp_path / "singlecoil_train" / "file1.h5").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"file1\.h5 cannot be read as a fastMRI volume"):
        _open(tmp_path, image_size=8)


@pytest.fixture
def multicoil(tmp_path):
    """A fastMRI volume of two slices and three smooth coils: (file, images (2, 32, 32), k-space of the coils)."""
    h5py = pytest.importorskip("h5py")
    from incomplete_sensing.operators.mri import fft2c

    grid = torch.linspace(-1, 1, 32)
    bump = torch.exp(-2 * (grid[:, None] ** 2 + grid[None, :] ** 2))
    images = torch.stack([bump, bump * (1 + 0.5 * grid[:, None])])
    maps = torch.stack(
        [1 + 0.4 * grid[:, None] + 0 * grid, 1j * (1 - 0.4 * grid) + 0 * bump, 0.5 * grid + 0.5j + 0 * bump]
    )
    maps = maps / maps.abs().square().sum(0).sqrt()
    k_space = fft2c(maps * images[:, None])
    path = tmp_path / "file1.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = k_space.numpy()
        file["reconstruction_rss"] = images.numpy()
    return path, images, k_space


def test_coils_of_a_fastmri_volume_are_combined(multicoil):
    """With maps from its own centre, to the image of the root of the sum of squares, up to a smooth phase."""
    path, images, _ = multicoil
    source = FastMRIVolumes([path], 32)
    x, _ = source.batch([0, 1])
    seen = images > 0.1
    assert torch.allclose(x.square().sum(1).sqrt()[seen], (images / images.max())[seen], atol=0.02)


def test_a_slice_of_a_multicoil_volume(multicoil, tmp_path):
    path, _, k_space = multicoil
    assert torch.equal(read_multicoil_slice(path, 0), k_space[0].to(torch.complex64))
    assert torch.equal(read_multicoil_slice(path), k_space[1].to(torch.complex64))
    with pytest.raises(UserError, match=r"no slice 2: it has 0 \.\. 1"):
        read_multicoil_slice(path, 2)
    import h5py

    with h5py.File(tmp_path / "single.h5", "w") as file:
        file["kspace"] = k_space[:, 0].numpy()
    with pytest.raises(UserError, match="single-coil volume: SENSE needs several coils"):
        read_multicoil_slice(tmp_path / "single.h5")


def test_bart_arrays_are_column_major(tmp_path):
    values = (np.arange(24) + 1j).reshape(1, 2, 3, 4).astype(np.complex64)
    (tmp_path / "ksp.hdr").write_text("# Dimensions\n1 2 3 4 1 1\n")
    values.flatten(order="F").tofile(tmp_path / "ksp.cfl")
    assert np.array_equal(read_cfl(tmp_path / "ksp"), values)
    assert torch.equal(read_multicoil_scan(tmp_path / "ksp.cfl")[3], torch.from_numpy(values[0, :, :, 3]))
    (tmp_path / "ksp.hdr").write_text("# Dimensions\n1 2 3 5\n")
    with pytest.raises(UserError, match="holds 24 numbers, ksp.hdr says 1 x 2 x 3 x 5"):
        read_cfl(tmp_path / "ksp")
    (tmp_path / "ksp.cfl").unlink()
    with pytest.raises(UserError, match=r"ksp\.cfl not found"):
        read_cfl(tmp_path / "ksp")


@real
def test_real_layouts_are_read():
    mnist = _open(REAL / "mnist")
    assert (len(mnist.train), len(mnist.test)) == (8000, 2000)
    assert 0.1 < float(mnist.train.batch(range(100))[0].mean()) < 0.2
    natural = _open(REAL / "natural")
    assert (len(natural.train), len(natural.test), natural.train.shape) == (16, 8, (3, 192, 192))
    brains = Problem(str(REAL / "mri" / "brain_png"), "images", OperatorOptions("mri", 4), grey=True)
    batch = brains.dataset("train", truth=False)[[0, 1]]
    assert batch.measurements.shape == (2, 2, 256, 256) and batch.truth is None


@real
def test_the_published_4x_mask_has_82_columns():
    mask = np.load(REAL / "mri" / "mask_320_4x.npz")["mask"]
    assert mask.sum() == 82


# Measurements --------------------------------------------------------------------------------------------------------


def test_images_are_split_evenly_and_the_last_operator_takes_the_rest():
    g = assign_operators(103, 10, 0)
    assert torch.bincount(g).tolist() == [10] * 9 + [13]
    assert torch.equal(g, assign_operators(103, 10, 0)) and not torch.equal(g, assign_operators(103, 10, 1))
    with pytest.raises(UserError, match="3 images are fewer than 4 operators"):
        assign_operators(3, 4, 0)


def _measured(truth=False, noise=None, cache=True, seed=0):
    source = TensorImages(torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    family = draw_operators(OperatorOptions("gaussian", 3, 6), (1, 4, 4))
    g = assign_operators(30, 3, seed)
    source.in_memory = cache
    noise = noise or Noise()
    return source, family, SimulatedMeasurements(source, torch.arange(30), g, family, noise, seed, truth)


@pytest.mark.parametrize("cache", [True, False])
def test_measurements_are_those_of_the_images(cache):
    source, family, dataset = _measured(cache=cache)
    batch = dataset[[4, 7, 2]]
    assert torch.allclose(batch.measurements, family(source.images[[4, 7, 2]], batch.g), atol=1e-6)
    assert batch.truth is None


def test_once_measured_nothing_of_the_images_is_kept():
    source, _, dataset = _measured()
    before = dataset[list(range(30))].measurements
    source.images.fill_(float("nan"))
    assert torch.equal(dataset[list(range(30))].measurements, before)
    assert dataset.source is None


def test_noise_of_an_item_follows_from_the_seed_and_its_number():
    noise = Noise(sigma=0.5)
    _, _, cached = _measured(noise=noise)
    source, family, lazy = _measured(noise=noise, cache=False)
    assert torch.allclose(cached[[5, 6]].measurements, lazy[[5, 6]].measurements, atol=1e-6)
    assert torch.allclose(lazy[[6]].measurements, lazy[[5, 6]].measurements[1:], atol=1e-6)
    difference = lazy[list(range(30))].measurements - family(source.images, lazy.g)
    assert float(difference.std()) == pytest.approx(0.5, rel=0.2)


def _stored(folder, **arrays):
    family = draw_operators(OperatorOptions("gaussian", 3, 6), (1, 4, 4))
    write_operators(family, folder / "operators.npz")
    g = np.arange(9) % 3
    x = np.random.default_rng(0).random((9, 1, 4, 4), np.float32)
    y = family(torch.from_numpy(x), torch.from_numpy(g)).numpy()
    for split in ("train", "test"):
        np.savez(folder / f"{split}.npz", **{"y": y, "g": g, **arrays})
    return family


def test_measurements_on_disk_bring_their_operators(tmp_path):
    family = _stored(tmp_path)
    problem = Problem(str(tmp_path))
    assert problem.measured and problem.family.fingerprint() == family.fingerprint()
    batch = problem.dataset("train", truth=False)[[0, 4]]
    assert batch.g.tolist() == [0, 1] and batch.truth is None
    with pytest.raises(UserError, match="has no x: supervised training needs the truth"):
        problem.dataset("train", truth=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros((9, 5))}, r"y has shape \(9, 5\), expected \(N, 6\)"),
        ({"y": np.full((9, 6), np.nan)}, "measurement 0 holds NaN"),
        ({"g": np.arange(9)}, r"unknown operator 3 in g; known are 0 \.\. 2"),
        ({"g": np.zeros(4, int)}, "expected 9 whole numbers"),
        ({"g": np.zeros(9)}, "expected 9 whole numbers"),
        ({"x": np.zeros((9, 1, 4, 5))}, r"x has shape \(9, 1, 4, 5\), expected \(9, 1, 4, 4\)"),
    ],
)
def test_measurement_files_say_what_is_wrong_with_them(tmp_path, arrays, message):
    family = _stored(tmp_path, **arrays)
    with pytest.raises(UserError, match=message):
        read_measurements(tmp_path / "train.npz", family)


def test_complex_measurements_become_real_and_imaginary_parts(tmp_path):
    family = draw_operators(OperatorOptions("mri", 1, acceleration=2, centre_fraction=0.2), (2, 8, 10))
    y = family(torch.rand(3, 2, 8, 10), 0)
    np.savez(tmp_path / "y.npz", y=torch.complex(y[:, 0], y[:, 1]).numpy())
    assert torch.equal(read_measurements(tmp_path / "y.npz", family).measurements, y)
