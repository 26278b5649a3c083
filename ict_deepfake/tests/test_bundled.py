"""The bundled model: what it holds, and what it finds on people of a seed that it was not trained on."""

import numpy as np
import pytest

from ict_deepfake import metrics, pretrained
from ict_deepfake.procedural import Population


@pytest.fixture(scope="module")
def detector():
    return pretrained.load()


@pytest.fixture(scope="module")
def people():
    return Population(seed=11, size=48, validation=(2, 1), test=(24, 3), train=(2, 1), cache=None)


def auc(detector, genuine, fakes):
    low, high = (detector.score(list(faces.images))["consistency"] for faces in (genuine, fakes))
    return metrics.auc(np.concatenate([low, high]), np.repeat([0, 1], [len(low), len(high)]))


def test_it_is_small_and_complete(detector):
    assert (pretrained.BUNDLED / "model.safetensors").stat().st_size < 4e6
    assert detector.size == 48 and (pretrained.BUNDLED.parent / "README.md").is_file()


def test_it_finds_swaps_of_people_it_has_not_seen_and_leaves_the_same_person_alone(detector, people):
    faces = people.test()
    assert auc(detector, faces.genuine, faces.fakes["blend"]) > 0.75
    assert auc(detector, faces.genuine, faces.fakes["rerender"]) > 0.6
    for control in ("self_blend", "reenact"):
        assert abs(auc(detector, faces.genuine, faces.fakes[control]) - 0.5) < 0.12
