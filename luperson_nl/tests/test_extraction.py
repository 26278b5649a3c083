"""Features of every kind of source, to a file and back."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pictures_on_disk import embedder, market, picture

from luperson_nl import extraction, pretrained
from luperson_nl.data.image_lists import read_image
from luperson_nl.data.street import Street
from luperson_nl.retrieval import Features
from shared_utils import UserError, work


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extraction")
    embedder(folder / "mini")
    market(folder / "data")
    return folder


@pytest.fixture(scope="module")
def model(place):
    return pretrained.load(place / "mini")


def extracted(model, pictures, folder, **options):
    with work.begin(folder, extraction.job(model, pictures), **options) as parts:
        names = extraction.extract(model, pictures, parts, batch_size=8)
        extraction.write_features(folder / "f.npz", pictures, extraction.features_of(parts, names), 96, "digest")
    return extraction.read_features(folder / "f.npz")


def test_features_of_a_file_are_those_of_the_model(place, model, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "PART", 12)
    pictures = extraction.of_anything(place / "data")
    stored = extracted(model, pictures, tmp_path / "out")
    expected = model.embed([read_image(name) for name in pictures.names], 8)
    np.testing.assert_allclose(stored.features.array, expected, atol=1e-6)
    assert stored.query.sum() == 10 and stored.features.pid[:2].tolist() == [1, 1]
    assert stored.features.frame.tolist()[:2] == [0, 0] and set(stored.features.video) == {1001, 2001}
    assert stored.model == "digest" and len(list((tmp_path / "out/parts/features").glob("*.npz"))) == 4


def test_what_was_embedded_before_a_stop_is_not_embedded_again(place, model, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "PART", 10)
    pictures = extraction.of_anything(place / "data")
    read = []

    def stopping(row):
        if row >= 25 and not resumed:
            raise UserError("stop")
        read.append(row)
        return pictures.read(row)

    resumed = False
    watched = extraction.Pictures(stopping, *list(vars(pictures).values())[1:])
    with pytest.raises(UserError, match="stop"):
        extracted(model, watched, tmp_path / "out")
    resumed = True
    read.clear()
    extracted(model, watched, tmp_path / "out", resume=True)
    assert sorted(read) == list(range(20, 40))


def test_folders_lists_and_the_street_are_sources(tmp_path, monkeypatch):
    picture(tmp_path / "any/deep/x.PNG", 1)
    picture(tmp_path / "any/0007_c3s2_000045_01.jpg", 2)
    pictures = extraction.of_anything(tmp_path / "any")
    assert pictures.pid.tolist() == [7, -1] and pictures.camera.tolist() == [3, -1] and pictures.frame[0] == 45
    assert len(extraction.of_anything(tmp_path / "any/deep/x.PNG")) == 1
    (tmp_path / "list.csv").write_text("path,pid,camid\nany/deep/x.PNG,5,1\nany/0007_c3s2_000045_01.jpg,5,2\n")
    listed = extraction.of_data(tmp_path / "list.csv")
    assert listed.pid.tolist() == [5, 5] and listed.query is None and listed.read(0).shape == (32, 16, 3)
    monkeypatch.setattr(Street, "test", partial(Street.test, Street(seed=0), persons=8))
    street = extraction.of_data(None)
    assert street.query.sum() < len(street) and street.read(0).dtype == np.uint8
    assert len(pictures.first(1)) == 1 and pictures.first(1).digest != pictures.digest


def test_an_empty_picture_is_named_before_anything_is_embedded(place, tmp_path):
    picture(tmp_path / "a.jpg", 1)
    (tmp_path / "b.jpg").touch()
    with pytest.raises(UserError, match=r"b.jpg is empty \(0 bytes\)"):
        extraction.of_anything(tmp_path)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"feats": np.ones((3, 2))}, r"no array 'features' \(it has feats\)"),
        ({"features": np.ones(3)}, r"'features' has the shape \(3,\)"),
        ({"features": np.ones((3, 2), int)}, "needed is .n, d. float"),
        ({"features": np.ones((3, 2)), "pid": np.ones(2, int)}, r"'pid' has the shape \(2,\), the features are of 3"),
        ({"features": np.ones((3, 2)), "pid": np.ones(3)}, "'pid' is of the type float64, needed are integers"),
        ({"features": np.ones((3, 2)), "query": np.ones(3, int)}, r"'query' .* needed is \(3,\) bool"),
        ({"features": np.array([None, 1])}, "not an .npz of plain arrays"),
    ],
)
def test_files_of_features_with_missing_or_misshaped_arrays_are_named(tmp_path, arrays, words):
    with pytest.raises(UserError, match=words) as error:
        extraction.read_features(saved(tmp_path / "f.npz", **arrays))
    assert "f.npz" in str(error.value)


def test_files_that_hold_no_features_are_named(tmp_path):
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    Path(tmp_path / "page.npz").write_text("<html>")
    whole = saved(tmp_path / "cut.npz", features=np.ones((300, 20))).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("one", "page", "cut"):
        with pytest.raises(UserError, match=rf"{name}.npz is not an .npz of plain arrays"):
            extraction.read_features(tmp_path / f"{name}.npz")
    with pytest.raises(UserError, match="absent.npz not found"):
        extraction.read_features(tmp_path / "absent.npz")


def test_what_a_file_does_not_say_is_unknown(tmp_path):
    stored = extraction.read_features(saved(tmp_path / "f.npz", features=np.ones((3, 2), np.float32)))
    assert isinstance(stored.features, Features) and stored.query is None and stored.model == ""
    assert stored.features.camera.tolist() == [-1, -1, -1] and stored.features.frame is None
