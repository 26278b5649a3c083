"""The embedded faces: the same everywhere, apart by identity, and what each suspect shows is known exactly."""

import logging

import numpy as np
import pytest

from ict_deepfake.procedural import CONTROLS, SWAPS, Population
from ict_deepfake.procedural.conditions import draw_conditions
from ict_deepfake.procedural.people import chimeras, draw_people
from ict_deepfake.procedural.rendering import render
from shared_utils import UserError

SMALL = {"train": (4, 3), "validation": (3, 2), "test": (5, 2), "cache": None}


@pytest.fixture(scope="module")
def population():
    return Population(**SMALL)


@pytest.fixture(scope="module")
def test_faces(population):
    return population.test()


def test_the_same_seed_gives_the_same_pictures_and_another_seed_other_people(population, test_faces):
    again = Population(**SMALL).test()
    np.testing.assert_array_equal(again.genuine.images, test_faces.genuine.images)
    for kind, faces in test_faces.fakes.items():
        np.testing.assert_array_equal(again.fakes[kind].images, faces.images)
    assert not np.allclose(Population(seed=1, **SMALL).people.inner, population.people.inner)


def test_splits_share_no_identity(population, test_faces):
    sets = [population.train(), population.validation().genuine, test_faces.genuine]
    persons = [set(faces.identity) for faces in sets]
    assert [len(p) for p in persons] == [4, 3, 5]
    assert len(set.union(*persons)) == 12
    references = population.references(count=3, distractors=6)
    assert set(references.identity) >= persons[2]
    assert not set(references.identity) & (persons[0] | persons[1])
    assert len(references) == (5 + 6) * 3


def test_references_are_other_pictures_than_the_tests(population, test_faces):
    known = {image.tobytes() for image in test_faces.genuine.images}
    assert not any(image.tobytes() in known for image in population.references(2, 1).images)


def test_more_training_pictures_leave_the_test_as_it_is(test_faces):
    other = Population(**{**SMALL, "train": (7, 2)}).test()
    np.testing.assert_array_equal(other.genuine.images, test_faces.genuine.images)


@pytest.mark.parametrize("kind", SWAPS + CONTROLS)
def test_labels_name_the_persons_whose_parameters_were_drawn(population, test_faces, kind):
    genuine, fake = test_faces.genuine, test_faces.fakes[kind]
    np.testing.assert_array_equal(fake.outer, genuine.identity)
    assert (fake.inner != fake.outer).all() if kind in SWAPS else (fake.inner == fake.outer).all()
    assert (fake.images != genuine.images).any(axis=(1, 2, 3)).all()
    identities, conditions, _ = population.shots("test")
    size = population.size
    head, _ = render(population.people[fake.outer], conditions, size)
    np.testing.assert_array_equal(head, genuine.images)
    if kind == "rerender":
        mixed = chimeras(population.people[fake.inner], population.people[fake.outer])
        np.testing.assert_array_equal(render(mixed, conditions, size)[0], fake.images)
    if kind == "blend":
        inner, _ = render(population.people[fake.inner], conditions, size)
        # In the middle of the face a blend follows the picture of the inner person, far from it that of the outer one.
        centre = fake.points[:, 30].round().astype(int)
        rows = np.arange(len(fake))
        column = (rows[:, None], centre[:, 1, None] + np.arange(-4, 5), centre[:, 0, None])

        def shape(images):  # without the colour correction
            values = images[column].astype(float).mean(2)
            return values - values.mean(1, keepdims=True)

        nearer = (
            np.abs(shape(fake.images) - shape(inner)).mean() / np.abs(shape(fake.images) - shape(genuine.images)).mean()
        )
        assert nearer < 0.7
        np.testing.assert_array_equal(fake.images[:, 0], genuine.images[:, 0])
    np.testing.assert_array_equal(identities, fake.outer)


def test_a_reenactment_keeps_everything_but_the_expression(test_faces):
    changed = (test_faces.fakes["reenact"].images != test_faces.genuine.images).any(3)
    assert changed.any(axis=(1, 2)).all()
    assert changed.mean() < 0.2


def test_inner_and_outer_face_are_related_by_the_share_that_is_not_private():
    def related(private):
        people = draw_people(4000, private, np.random.default_rng(0))
        return np.linalg.svd(np.corrcoef(people.inner.T, people.outer.T)[:14, 14:])[1].max()

    assert related(1.0) < 0.25 < related(0.6) < related(0.1)


def test_landmarks_lie_on_the_features():
    rng = np.random.default_rng(0)
    people = draw_people(12, 0.6, rng)
    images, points = render(people, draw_conditions(12, rng), 128)
    rows = np.arange(12)
    eyes = points[:, 36:42].mean(1).round().astype(int)
    cheeks = (0.5 * points[:, 41] + 0.5 * points[:, 48]).round().astype(int)
    darkness = [images[rows, place[:, 1], place[:, 0]].mean(1) for place in (eyes, cheeks)]
    assert (darkness[0] < 0.6 * darkness[1]).all()  # pupils
    assert (points[:, 8, 1] > points[:, 57, 1]).all()
    assert (points > 0).all()
    assert (points < 128).all()


def test_the_cache_holds_the_same_pictures_and_is_rendered_again_when_damaged(tmp_path, caplog):
    arguments = {**SMALL, "cache": tmp_path}
    first = Population(**arguments).validation()
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    again = Population(**arguments).validation()
    assert path.stat().st_mtime_ns == stamp
    np.testing.assert_array_equal(again.fakes["blend"].images, first.fakes["blend"].images)
    np.testing.assert_array_equal(again.fakes["blend"].inner, first.fakes["blend"].inner)
    path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        restored = Population(**arguments).validation()
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(restored.genuine.images, first.genuine.images)
    Population(**{**arguments, "private": 0.3}).validation()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        faces = Population(**{**SMALL, "cache": tmp_path / "file"}).train()
    assert len(faces) == 12
    assert "no cache" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"private": 1.2}, "share in 0 to 1"), ({"size": 4}, "16 or more"), ({"test": (1, 4)}, "at least 2 persons")],
)
def test_arguments_that_make_no_faces_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        Population(**arguments)
