"""Data sets as people have them on disk: which files are looked for, and the error for a wrong layout."""

from __future__ import annotations

import gzip
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from incomplete_sensing.data.fastmri import open_fastmri
from incomplete_sensing.data.images import IMAGE_SUFFIXES, FileImages, ImageSource, TensorImages
from shared_utils import UserError

Layout = Literal["auto", "digits", "patches", "mnist", "celeba", "images", "fastmri", "measurements"]


@dataclass
class Images:
    """Training and test images."""

    train: ImageSource
    test: ImageSource


def detect_layout(root: Path) -> Layout:
    """What is in ``root``. Raises UserError, with the known layouts, when it is none of them."""
    if not root.exists():
        raise UserError(f"data folder {root} not found: check data.root, or leave it out for the embedded digits")
    if root.is_file():
        if root.suffix in (".pt", ".pth", ".npy", ".h5"):
            return "fastmri"
        if root.suffix == ".npz":
            return "measurements"
    elif (root / "operators.npz").is_file() or list(root.glob("*measurements*.npz")):
        return "measurements"
    elif find_mnist(root, "t10k") is not None:
        return "mnist"
    elif (root / "list_eval_partition.txt").is_file():
        return "celeba"
    elif any(root.rglob("*.h5")):
        return "fastmri"
    elif any(path.suffix.lower() in IMAGE_SUFFIXES for path in root.rglob("*")):
        return "images"
    raise UserError(
        f"{root} holds none of: MNIST's idx files, CelebA (img_align_celeba and list_eval_partition.txt), images (train/ and"
        " test/, or one folder), fastMRI h5 files or one tensor file, measurements (train.npz and operators.npz)"
    )


def open_images(root: str | None, layout: Layout, image_size: int | None, halve: bool, grey: bool, seed: int) -> Images:
    """The images of a layout; None: scikit-learn's digits, or patches of its photographs."""
    if layout == "patches":
        return patches(image_size or 32, grey)
    if root is None or layout == "digits":
        return digits(seed)
    path = Path(root)
    if not path.exists():
        raise UserError(f"data folder {root} not found: check data.root, or leave it out for the embedded digits")
    layout = detect_layout(path) if layout == "auto" else layout
    if layout == "mnist":
        return mnist(path, seed)
    if layout == "celeba":
        return celeba(path, image_size or 128)
    if layout == "fastmri":
        return Images(*open_fastmri(path, image_size or 320))
    return image_folders(path, image_size, halve, grey, seed)


# Embedded ------------------------------------------------------------------------------------------------------------


def digits(seed: int) -> Images:
    """scikit-learn's 1797 real digits, 8 x 8, over 16; 1400 for training by a seeded permutation, 397 for test."""
    from sklearn.datasets import load_digits

    loaded = cast(Any, load_digits())  # as a Bunch; its type knows the pairs that other arguments give too
    images = torch.from_numpy(loaded.images.astype(np.float32))[:, None]
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    return Images(TensorImages(images[order[:1400]], 16.0), TensorImages(images[order[1400:]], 16.0))


def patches(size: int, grey: bool) -> Images:
    """Patches of the two photographs that come with scikit-learn (427 x 640, a temple and a flower), over 255.

    Every half patch there is one. Those of the left 70 % are for training, those of the right 30 % for test, so the two share
    no pixel. Flat ones, with a standard deviation of the grey values below 0.06, are left out.
    """
    from sklearn.datasets import load_sample_images

    photographs = [torch.from_numpy(image.copy()).permute(2, 0, 1) for image in cast(Any, load_sample_images()).images]
    if not 8 <= size <= 128:
        raise UserError(f"patches of the photographs are 8 to 128 pixels wide, got image_size {size}")
    parts: dict[str, list[Tensor]] = {"train": [], "test": []}
    for image in photographs:
        cut = round(0.7 * image.shape[2])
        for name, part in (("train", image[:, :, :cut]), ("test", image[:, :, cut:])):
            windows = part.unfold(1, size, size // 2).unfold(2, size, size // 2)
            parts[name].append(windows.permute(1, 2, 0, 3, 4).flatten(0, 1))
    chosen = {}
    for name, some in parts.items():
        whole = torch.cat(some)
        brightness = (whole.float() * torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)).sum(1, keepdim=True)
        kept = brightness.flatten(1).std(1) >= 0.06 * 255
        chosen[name] = TensorImages((brightness if grey else whole)[kept].contiguous(), 255.0)
    return Images(chosen["train"], chosen["test"])


# MNIST ---------------------------------------------------------------------------------------------------------------


def find_mnist(root: Path, split: Literal["train", "t10k"]) -> Path | None:
    """The idx file of a split: below ``root``, or in torchvision's ``MNIST/raw``, compressed or not."""
    for folder in (root, root / "MNIST" / "raw", root / "raw"):
        for name in (f"{split}-images-idx3-ubyte", f"{split}-images.idx3-ubyte"):
            for suffix in ("", ".gz"):
                if (folder / f"{name}{suffix}").is_file():
                    return folder / f"{name}{suffix}"
    return None


def read_idx_images(path: Path) -> np.ndarray:
    """An idx3 file, plain or gzip, as uint8 (N, H, W). Raises UserError when it is damaged or something else."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            header = stream.read(16)
            if len(header) < 16 or struct.unpack(">I", header[:4])[0] != 2051:
                raise UserError(f"{path} is not an idx file of images (magic number 2051): download it again")
            count, height, width = struct.unpack(">III", header[4:])
            content = stream.read()
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error}): download it again") from error
    if len(content) != count * height * width:
        raise UserError(
            f"{path} holds {len(content)} bytes of pixels, its header says {count} x {height} x {width}: download it again"
        )
    return np.frombuffer(content, np.uint8).reshape(count, height, width)


def mnist(root: Path, seed: int) -> Images:
    """60 000 and 10 000 images 28 x 28, over 255. Where only the test file is there, 8000 / 2000 of it, seeded."""
    train, test = find_mnist(root, "train"), find_mnist(root, "t10k")
    if test is None:
        raise UserError(
            f"t10k-images-idx3-ubyte(.gz) not found in {root}, {root / 'MNIST' / 'raw'}: MNIST's idx files come from"
            " torchvision.datasets.MNIST(root, download=True) or any MNIST mirror"
        )
    pixels = torch.from_numpy(read_idx_images(test).copy())[:, None]
    if train is not None:
        return Images(
            TensorImages(torch.from_numpy(read_idx_images(train).copy())[:, None], 255.0), TensorImages(pixels, 255.0)
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(pixels)))
    cut = round(0.8 * len(pixels))
    return Images(TensorImages(pixels[order[:cut]], 255.0), TensorImages(pixels[order[cut:]], 255.0))


# Image files ---------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def celeba(root: Path, size: int) -> Images:
    """Aligned CelebA, centre crop: the official ``img_align_celeba/`` with ``list_eval_partition.txt``, or folders."""
    partition = root / "list_eval_partition.txt"
    if not partition.is_file():
        return image_folders(root, size, False, False, 0)
    folder = root / "img_align_celeba"
    if not folder.is_dir():
        raise UserError(f"{folder} not found beside {partition.name}: unpack img_align_celeba.zip there")
    parts: dict[str, list[Path]] = {"0": [], "1": [], "2": []}
    for number, line in enumerate(partition.read_text().splitlines(), 1):
        words = line.split()
        if len(words) != 2 or words[1] not in parts:
            raise UserError(f"{partition}, line {number}: expected a file name and 0, 1 or 2, found {line!r}")
        parts[words[1]].append(folder / words[0])
    for part, name in (("0", "training"), ("2", "test")):
        if not parts[part]:
            raise UserError(f"{partition} lists no {name} images (partition {part})")
    return Images(FileImages(parts["0"], (size, size)), FileImages(parts["2"], (size, size)))


def image_folders(root: Path, size: int | None, halve: bool, grey: bool, seed: int) -> Images:
    """``train/`` and ``test/`` with images at any depth, as the published CelebA loader and EI's Urban100 want them.

    Or one folder: Urban100's ``img_001`` .. ``img_100`` are split 90 / 10 in order as in EI, others 80 / 20 by the seed.
    """
    crop = None if size is None else (size, size)
    if (root / "train").is_dir() and (root / "test").is_dir():
        train, test = _files(root / "train"), _files(root / "test")
    elif (root / "train").is_dir() or (root / "test").is_dir():
        missing = root / ("test" if (root / "train").is_dir() else "train")
        raise UserError(f"{missing} not found: images come as train/ and test/, or all in one folder")
    else:
        files = _files(root)
        if len(files) == 100 and all(re.match(r"img_?\d{3}", path.stem) for path in files):
            train, test = files[:90], files[90:]
        else:
            order = np.random.default_rng(seed).permutation(len(files))
            cut = min(max(1, round(0.8 * len(files))), max(1, len(files) - 1))
            train, test = [files[i] for i in order[:cut]], [files[i] for i in order[cut:]]
    if not train or not test:
        raise UserError(
            f"{root}: {len(train)} images for training and {len(test)} for test, at least one of each is needed"
        )
    return Images(FileImages(train, crop, halve, grey), FileImages(test, crop, halve, grey))
