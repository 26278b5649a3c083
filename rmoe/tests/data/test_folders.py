"""Image and mask pairs, class lists, ADE20K and class folders: what is read, and what is refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rmoe.data import ade20k, folders
from rmoe.data.files import read_mask
from rmoe.data.readable import Prepared
from rmoe.data.upstream import ImageFolder
from shared_utils import UserError

SAMPLES = Path(__file__).parents[3].parent / "shared" / "data" / "rmoe" / "ade"


@pytest.fixture
def data(tmp_path):
    """Write a folder of pairs with the given mask values (of 8 or 16 bits) and class list; its path."""

    def write(values=(0, 1), dtype=np.uint8, classes="road\ncar\n", layout="{kind}/{split}", count=1):
        for split in ("train", "val"):
            for number in range(count):
                for kind in ("images", "masks"):
                    folder = tmp_path / layout.format(kind=kind, split=split)
                    folder.mkdir(parents=True, exist_ok=True)
                    pixels = np.resize(np.array(values, dtype), (4, 6))
                    if kind == "images":
                        pixels = np.zeros((4, 6, 3), np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
        name = "classes.json" if classes.startswith("{") else "classes.txt"
        (tmp_path / name).write_text(classes)
        return tmp_path

    return write


@pytest.mark.parametrize("layout", ["{kind}/{split}", "{split}/{kind}"])
def test_pairs_are_found_in_both_layouts(data, layout):
    dataset, names = folders.mask_folder(data(layout=layout), "train")
    assert names == ["road", "car"] and dataset[0].label.unique().tolist() == [0, 1]


def test_without_splits_every_tenth_image_is_validation(data):
    root = data(layout="{kind}", count=12)
    counts = [len(folders.mask_folder(root, split)[0]) for split in ("train", "val")]
    assert counts == [10, 2]


def test_an_explicit_table_takes_masks_of_16_bits(data):
    classes = json.dumps({"7": "road", "1000": "car", "3": "ignore", "40000": "car"})
    dataset, names = folders.mask_folder(data((7, 1000, 3, 40000), np.uint16, classes), "val")
    assert names == ["road", "car"]
    assert dataset[0].label[0, :4].tolist() == [0, 1, 255, 1]


def test_classes_that_are_left_out_are_ignored(data):
    dataset, names = folders.mask_folder(data((0, 1, 255)), "train", keep=["car"])
    assert names == ["car"] and dataset[0].label[0, :3].tolist() == [255, 0, 255]


def test_a_value_that_no_class_has_names_file_and_value(data):
    root = data((0, 1, 2))
    with pytest.raises(UserError, match=r"masks/train/0.png has the value 2, which no class has"):
        folders.mask_folder(root, "train")[0][0]


def test_an_image_without_mask_is_named(data):
    root = data()
    (root / "masks" / "val" / "0.png").unlink()
    with pytest.raises(UserError, match=r"images/val/0.png has no mask"):
        folders.mask_folder(root, "val")


@pytest.mark.parametrize(
    ("classes", "keep", "message"),
    [
        ("", None, "names no class"),
        ("a\nb\n", ["c"], "has no class 'c'"),
        ('{"x": "a"}', None, "is not a class list"),
    ],
)
def test_class_lists_that_do_not_fit_are_refused(data, classes, keep, message):
    with pytest.raises(UserError, match=message):
        folders.mask_folder(data(classes=classes), "train", keep)


def test_masks_of_another_size_or_kind_are_named(data, tmp_path):
    root = data()
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(root / "masks" / "train" / "0.png")
    with pytest.raises(UserError, match="0.png is 6x5, its image 6x4"):
        folders.mask_folder(root, "train")[0][0]
    Image.fromarray(np.random.default_rng(0).integers(255, size=(4, 6, 3), dtype=np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(UserError, match="is not a label map"):
        read_mask(tmp_path / "rgb.png")


def test_a_damaged_image_is_skipped_in_training_and_an_error_elsewhere(data, caplog):
    root = data()
    (root / "images" / "train" / "0.png").write_bytes(b"broken")
    dataset = folders.mask_folder(root, "train")[0]
    assert Prepared(dataset, skip=True)[0] is None and "0.png cannot be read" in caplog.text
    with pytest.raises(UserError, match="cannot be read"):
        Prepared(dataset)[0]


def test_a_palette_gives_its_indices(tmp_path):
    picture = Image.fromarray(np.array([[0, 2], [1, 3]], np.uint8)).convert("P")
    picture.putpalette([10, 20, 30] * 4)
    picture.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").max() <= 3


def test_ade_classes_are_shifted_and_unlabelled_is_ignored():
    values = np.array([0, 1, 150, 255])
    assert folders.relabel(values, ade20k.TABLE, "x").tolist() == [255, 0, 149, 255]
    with pytest.raises(UserError, match="value 151"):
        folders.relabel(np.array([151]), ade20k.TABLE, "x")


def test_a_folder_that_is_not_ade_is_refused_with_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"ADEChallengeData2016.zip"):
        ade20k.ade20k(tmp_path, "train")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the ADE20K samples of ../shared/data/rmoe are not here")
def test_the_samples_of_ade20k_load():
    for split in ("train", "val"):
        dataset = ade20k.ade20k(SAMPLES, split)
        assert len(dataset) == 3
        for sample in dataset:
            known = sample.label[sample.label != 255]
            assert sample.label.shape == sample.image.shape[1:] and known.max() < 150 and len(known)
    assert ade20k.class_names(SAMPLES)[:3] == ["wall", "building", "sky"]


def test_class_folders_are_read_in_order(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "ant"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / split / name / "0.jpg")
    dataset = ImageFolder(tmp_path, "test")
    assert dataset.names == ["ant", "cat"] and [label for _, label in dataset] == [0, 1]
    assert torch.equal(dataset[0][0], torch.zeros(3, 4, 4, dtype=torch.uint8))
    with pytest.raises(UserError, match="train not found"):
        ImageFolder(tmp_path / "val", "train")
