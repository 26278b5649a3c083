"""Training data from folders: which identities are held, how faces are found, what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ict_deepfake.data.module import FacesData
from shared_utils import UserError

ORL = Path(__file__).parents[3].parent / "shared/data/ict_deepfake/orl_faces"


def folder(root, persons=8, pictures=3):
    for person in range(persons):
        (root / f"p{person}").mkdir(parents=True)
        for number in range(pictures):
            image = np.full((20, 20, 3), 10 * person + number, np.uint8)
            Image.fromarray(image).save(root / f"p{person}" / f"{number}.png")
    return root


def test_held_identities_are_not_trained(tmp_path):
    data = FacesData(str(folder(tmp_path)), placing="aligned", size=16, batch_size=4, held=0.25, degradation=None)
    trained, held = data._split
    assert len(trained.names) == data.num_classes == 6 and len(held.names) == 2
    assert not set(trained.names) & set(held.names)
    assert data.held.kinds == ["genuine", "blend"] and len(data.held) == 12 and data.final is None
    assert len(data.batches(10)) == 4 and data.alignment["crop"] == 16


def test_one_held_identity_validates_nothing(tmp_path, caplog):
    data = FacesData(str(folder(tmp_path)), placing="aligned", size=16, batch_size=4, held=0.1)
    assert data.num_classes == 8 and data.held is None and data.val_dataloader() == []
    assert "cannot be swapped" in caplog.text


def test_pictures_without_landmarks_name_the_ways_on(tmp_path):
    data = FacesData(str(folder(tmp_path)), size=16, batch_size=4)
    with pytest.raises(UserError, match=r"no landmarks.*detect.*aligned"):
        _ = data.num_classes


def test_parametric_people_lie_where_they_are_drawn():
    population = {"train": (4, 3), "validation": (2, 2), "test": (2, 2), "cache": None}
    data = FacesData(size=16, batch_size=4, population=population)
    five = np.array(data.alignment["template"])
    assert data.alignment["crop"] == 16 and (five > 3).all() and (five < 13).all()
    assert data.held.kinds == data.final.kinds == ["genuine", "blend", "rerender", "self_blend", "reenact"]


def test_faces_are_found_in_real_portraits(tmp_path):
    if not ORL.is_dir():
        pytest.skip("the ORL portraits are not there")
    for person in ("s1", "s2", "s3"):
        (tmp_path / person).mkdir()
        for number in (1, 2):
            shutil.copy(ORL / person / f"{number}.pgm", tmp_path / person)
    data = FacesData(str(tmp_path), placing="detect", size=32, batch_size=2, held=0.0)
    batch = data.batches(2)[0]
    assert batch.ba.shape == (2, 3, 32, 32) and len(data.crops) >= 4
    assert data.crops.points(np.array([0])).shape == (1, 5, 2)
