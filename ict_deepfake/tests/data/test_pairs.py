"""Swapped pairs: whose face is where, the same numbers for whoever makes them, nothing that tells the classes apart."""

import numpy as np
import pytest
import torch

from ict_deepfake.data.crops import Crops
from ict_deepfake.data.held import swapped
from ict_deepfake.data.identities import DrawnIdentities, open_identities
from ict_deepfake.data.pairs import PairBatches
from ict_deepfake.faces.alignment import Alignment
from ict_deepfake.swapping import Recipe
from shared_utils import UserError

SIZE, PERSONS, PICTURES = 24, 6, 4
HARD = Recipe(blends=(1, 0, 0, 0), colours=(1, 0, 0))
TEMPLATE = Alignment().scaled(SIZE)


def source(persons=PERSONS, pictures=PICTURES):
    """Everyone has a grey level of their own, and each picture a corner that says which it is."""
    identity = np.repeat(np.arange(persons), pictures)
    images = np.empty((len(identity), SIZE, SIZE, 3), np.uint8)
    images[:] = (20 + 30 * identity)[:, None, None, None]
    images[:, 0, 0, 0] = np.arange(len(identity))
    points = np.repeat(np.array(TEMPLATE.template, np.float32)[None], len(identity), 0)
    return DrawnIdentities(images, identity, points)


def batches(faces=None, batch_size=8, degradation=None, **options):
    crops = Crops(faces or source(), TEMPLATE)
    settings = {"genuine": 0.25, "seed": 3, **options}
    return PairBatches(crops, batch_size, HARD, degradation, **settings)


def levels(pictures):
    """(grey level of the middle, grey level of the border) of each picture, as identities."""
    middle, border = pictures[:, 1, 12, 12].int(), pictures[:, 1, 23, 12].int()
    return (middle - 20) // 30, (border - 20) // 30


def test_labels_say_whose_inner_and_outer_face_it_is():
    for number in range(6):
        batch = batches(genuine=0.25)[number]
        inner, outer = levels(batch.ba)
        assert inner.tolist() == batch.b.tolist() and outer.tolist() == batch.a.tolist()
        inner, outer = levels(batch.ab)
        assert inner.tolist() == batch.a.tolist() and outer.tolist() == batch.b.tolist()


def test_genuine_pairs_are_two_pictures_of_one_person():
    batch = batches(genuine=0.5)[0]
    same = batch.a == batch.b
    assert int(same.sum()) == 4
    assert (batch.ba[same][:, 0, 0, 0] != batch.ab[same][:, 0, 0, 0]).all()


@pytest.mark.parametrize("batch_size", [8, 7])
def test_matched_pairs_are_swapped_and_as_they_were(batch_size):
    seen = []

    def kept(images, rng):
        seen.append(len(images))
        return images

    found = batches(matched=True, batch_size=batch_size, degradation=kept)
    for number in range(3):
        batch = found[number]
        made = batch.swapped
        assert len(batch.ba) == batch_size // 2 * 2 and int(made.sum()) == batch_size // 2
        for pictures, mine, other in ((batch.ba, batch.a, batch.b), (batch.ab, batch.b, batch.a)):
            inner, outer = levels(pictures[made])
            assert inner.tolist() == other[made].tolist() and outer.tolist() == mine[made].tolist()
            inner, outer = levels(pictures[~made])
            assert inner.tolist() == outer.tolist() == mine[~made].tolist()
            corner = pictures[:, 0, 0, 0]  # no mask reaches it; it says which picture it is
            assert sorted(corner[made].tolist()) == sorted(corner[~made].tolist())
    assert sum(seen) == 3 * 2 * (batch_size // 2 * 2)


def test_matched_targets_come_once_an_epoch_too():
    found = batches(matched=True)
    drawn = [found[number] for number in range(len(found))]
    targets = torch.cat([batch.ba[batch.swapped][:, 0, 0, 0] for batch in drawn])
    assert len(found) == 6 and sorted(targets.tolist()) == list(range(24))


def test_the_beginning_has_more_genuine_pairs():
    found = batches(genuine=0.25, first_genuine=0.5, first=2)
    assert [int((found[number].a == found[number].b).sum()) for number in range(4)] == [4, 4, 2, 2]


def test_every_target_comes_once_an_epoch():
    found = batches()
    targets = torch.cat([found[number].ba[:, 0, 0, 0] for number in range(len(found))])
    assert len(found) == 3 and sorted(targets.tolist()) == list(range(24))
    again = torch.cat([found[number].ba[:, 0, 0, 0] for number in range(3, 6)])
    assert again.tolist() != targets.tolist() and sorted(again.tolist()) == list(range(24))


def test_a_batch_is_the_same_whoever_makes_it_and_whenever():
    one, other = batches()[5], batches()[5]
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for options in ({}, {"matched": True}):
        one = batches(**options)[5]
        shares = [batches(**options).share(5, rank, 2) for rank in range(2)]
        assert all(torch.equal(whole, torch.cat(parts)) for whole, *parts in zip(one, *shares, strict=True))


def test_one_degradation_is_drawn_for_a_whole_batch():
    seen = []

    def degradation(images, rng):
        seen.append(rng.random())
        return images

    found = batches(degradation=degradation)
    found[0], found[1]
    assert seen[0] == seen[1] != seen[2] == seen[3]


def test_who_has_one_picture_is_only_a_donor():
    faces = source()
    faces.identity[:] = [0, *[1] * 11, *[2] * 12]
    faces.names = ["0", "1", "2"]
    found = batches(faces, genuine=0.0)
    drawn = [found[number] for number in range(20)]
    assert 0 not in torch.cat([batch.a for batch in drawn]).tolist()
    assert 0 in torch.cat([batch.b for batch in drawn]).tolist()


def test_a_loader_goes_on_where_it_was():
    whole = batches().loader()
    seen = [batch.a.tolist() for batch in whole]
    iterator = iter(whole)
    next(iterator)
    state = whole.state_dict()
    again = batches().loader()
    again.load_state_dict(state)
    assert [batch.a.tolist() for batch in again] == seen[1:]


def test_held_pictures_are_genuine_and_swapped():
    held = swapped(Crops(source(), TEMPLATE), HARD, 0)
    pictures = torch.from_numpy(held.images.transpose(0, 3, 1, 2).copy())
    inner, outer = levels(pictures)
    assert held.kinds == ["genuine", "blend"] and (held.kind == 0).sum() == 24
    assert ((inner == outer).numpy() == (held.kind == 0)).all()
    rows, numbers = zip(*held.loader(), strict=True)
    assert torch.equal(torch.cat(rows), pictures) and torch.cat(numbers).tolist() == list(range(48))


def test_a_batch_that_is_too_large_is_refused():
    with pytest.raises(UserError, match="make no batch of 64"):
        batches(batch_size=64)


def on_disk(root, broken=False):
    from PIL import Image

    for person in range(2):
        (root / str(person)).mkdir()
        for number in range(3):
            path = root / str(person) / f"{number}.png"
            Image.fromarray(np.full((40, 40, 3), 100 * person + 10 * number, np.uint8)).save(path)
            if broken and person == 1 and number == 1:
                path.write_bytes(b"no picture")
    return open_identities(root)


def test_aligned_pictures_are_brought_to_the_networks_size(tmp_path):
    crops = Crops(on_disk(tmp_path), TEMPLATE, "aligned")
    cut = crops.cut(np.array([0, 4]))
    assert cut.images.shape == (2, SIZE, SIZE, 3) and cut.images[:, 5, 5, 0].tolist() == [0, 110]
    assert np.allclose(cut.points[1], TEMPLATE.template)


def test_a_damaged_picture_is_named_and_another_one_of_the_person_stands_in(tmp_path, caplog):
    crops = Crops(on_disk(tmp_path, broken=True), TEMPLATE, "aligned")
    assert crops.cut(np.array([4])).images[0, 0, 0, 0] == 120
    crops.cut(np.array([4]))
    assert "1.png" in caplog.text and len(caplog.records) == 1 and list(crops.damaged) == [4]


def test_pictures_with_landmarks_are_aligned_by_them():
    big = Alignment().scaled(96)
    faces = source()
    images = np.repeat(np.repeat(faces.images, 4, 1), 4, 2)
    points = np.repeat(np.array(big.template, np.float32)[None], len(images), 0)
    crops = Crops(DrawnIdentities(images, faces.identity, points), TEMPLATE)
    cut = crops.cut(np.array([5]))
    assert cut.images.shape == (1, SIZE, SIZE, 3) and abs(int(cut.images[0, 12, 12, 1]) - 50) <= 1
    assert np.allclose(cut.points[0], TEMPLATE.template, atol=0.01)
    assert np.allclose(crops.points(np.array([5])), cut.points, atol=0.01) and crops.outer_face() > 0.99


def test_tight_crops_are_warned_of(caplog):
    tight = np.array(Alignment().scaled(96).template) - 24
    faces = source()
    images = np.repeat(np.repeat(faces.images, 2, 1), 2, 2)
    crops = Crops(DrawnIdentities(images, faces.identity, np.repeat(tight[None], len(images), 0)), TEMPLATE)
    assert crops.outer_face() < 0.5 and "cut off the outer face" in caplog.text
