import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.data.archives import MODELNET40
from si_adv.data.layouts import LAYOUTS, open_dataset, recognise
from si_adv.data.sample import normalise

CLASSES = ("chair", "glass_box", "sofa")
MODELNET10 = Path(__file__).parents[4] / "shared" / "data" / "si_adv" / "modelnet10_1024.npz"


def rows_of(seed, count=40, columns=6):
    """x y z nx ny nz [part], unit normals."""
    rng = np.random.default_rng(seed)
    points, normals = rng.standard_normal((2, count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return np.concatenate((points, normals, np.ones((count, 1))), 1)[:, :columns].round(6)


@pytest.fixture
def modelnet(tmp_path):
    root = tmp_path / "modelnet40_normal_resampled"
    ids = {"train": ["chair_0001", "glass_box_0001", "sofa_0002"], "test": ["sofa_0009", "glass_box_0123"]}
    root.mkdir()
    (root / "modelnet40_shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    (root / "modelnet10_shape_names.txt").write_text("chair\nsofa\n")
    (root / "modelnet10_test.txt").write_text("sofa_0009\n")
    for split, names in ids.items():
        (root / f"modelnet40_{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            folder = root / name.rpartition("_")[0]
            folder.mkdir(exist_ok=True)
            np.savetxt(folder / f"{name}.txt", rows_of(len(name)), delimiter=",", fmt="%.6f")
    return root


@pytest.fixture
def shapenet(tmp_path):
    root = tmp_path / "shapenet"
    (root / "train_test_split").mkdir(parents=True)
    (root / "synsetoffset2category.txt").write_text("Airplane\t02691156\nBag\t02773838\n")
    for split, tokens in {
        "train": ["02691156/aa", "02773838/bb"],
        "val": ["02773838/cc"],
        "test": ["02691156/dd"],
    }.items():
        listed = [f"shape_data/{token}" for token in tokens]
        (root / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(listed))
        for token in tokens:
            path = root / f"{token}.txt"
            path.parent.mkdir(exist_ok=True)
            np.savetxt(path, rows_of(7, columns=7), fmt="%.6f")
    return root


@pytest.fixture
def hdf5(tmp_path):
    import h5py

    root = tmp_path / "modelnet40_ply_hdf5_2048"
    root.mkdir()
    (root / "shape_names.txt").write_text("\n".join(CLASSES))
    (root / "train_files.txt").write_text("data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\n")
    (root / "test_files.txt").write_text("".join(f"data/x/ply_data_test{part}.h5\n" for part in range(2)))
    for name, seed in (("train0", 0), ("test0", 1), ("test1", 2)):
        with h5py.File(root / f"ply_data_{name}.h5", "w") as store:
            store["data"] = np.stack([rows_of(10 * seed + k, columns=3) for k in range(3)]).astype(np.float32)
            store["label"] = np.array([[0], [2], [1]], np.uint8)
    return root


@pytest.fixture
def meshes(tmp_path):
    root = tmp_path / "meshes"
    for name in CLASSES:
        for split in ("train", "test"):
            folder = root / name / split
            folder.mkdir(parents=True)
            for number in range(2):
                corners = np.random.default_rng(number).uniform(1, 2, 3) * np.eye(3)
                text = "\n".join(" ".join(map(str, row)) for row in (np.zeros(3), *corners))
                (folder / f"{name}_{number}.off").write_text(f"OFF4 4 0\n{text}\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n")
    return root


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "packed.npz"
    points = np.stack([normalise(rows_of(k, columns=3))[0] for k in range(4)])
    np.savez(
        path,
        train_points=(points * 32767).round().astype(np.int16),
        train_label=np.array([0, 1, 2, 0], np.int16),
        test_points=points.astype(np.float32),
        test_label=np.array([0, 1, 2, 0]),
        test_name=np.array(["chair_1", "glass_box_1", "sofa_1", "chair_2"]),
        class_names=np.array(CLASSES),
    )
    return path


@pytest.fixture
def if_defense(tmp_path):
    path = tmp_path / "attack_data.npz"
    points = np.stack([rows_of(k, columns=3) for k in range(3)])
    labels = np.array([0, 39, 7])
    np.savez(path, train_pc=points, train_label=labels, test_pc=points, test_label=labels, target_label=labels[::-1])
    return path


def dataset(root, split="test", **options):
    return open_dataset(root, split, **{"num_points": 32, "cache_dir": None, **options})


@pytest.mark.parametrize("fixture", ["modelnet", "shapenet", "hdf5", "meshes", "packed", "if_defense"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_layout_gives_normalised_clouds_with_unit_normals(request, fixture, split):
    clouds = dataset(request.getfixturevalue(fixture), split)
    assert len(clouds) == len(clouds.labels) == len(clouds.names) > 0
    for index in range(len(clouds)):
        sample = clouds[index]
        assert sample.points.shape == sample.normals.shape == (32, 3)
        assert sample.points.dtype == sample.normals.dtype == torch.float32
        assert sample.points.mean(0).abs().max() < 1e-6
        assert sample.points.norm(dim=1).max().item() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(sample.normals.norm(dim=1).numpy(), 1, atol=1e-5)
        assert sample.label == clouds.labels[index]
        assert 0 <= sample.label < len(clouds.class_names)
    with pytest.raises(IndexError):
        clouds[len(clouds)]


# One layout after the other -------------------------------------------------------------------------------------------


def test_modelnet_takes_the_first_rows_and_leaves_normals_alone(modelnet):
    clouds = dataset(modelnet, "test")
    rows = np.loadtxt(modelnet / "glass_box" / "glass_box_0123.txt", delimiter=",")[:32]
    sample = clouds[1]
    np.testing.assert_allclose(sample.points.numpy(), normalise(rows[:, :3])[0], atol=1e-6)
    np.testing.assert_allclose(sample.normals.numpy(), rows[:, 3:], atol=1e-5)
    assert (sample.name, clouds.class_names[sample.label]) == ("glass_box_0123", "glass_box")
    assert clouds.labels.tolist() == [2, 1]


def test_modelnet10_of_the_same_archive_is_chosen_by_its_names_file(modelnet):
    clouds = dataset(modelnet / "modelnet10_shape_names.txt", "test")
    assert clouds.class_names == ("chair", "sofa") and clouds.labels.tolist() == [1]


def test_shapenet_rows_are_drawn_without_replacement_and_reproducibly(shapenet):
    clouds = dataset(shapenet, "val")
    assert clouds.class_names == ("Airplane", "Bag") and clouds.labels.tolist() == [1]
    sample = clouds[0]
    assert len(np.unique(sample.points.numpy(), axis=0)) == 32
    assert torch.equal(sample.points, dataset(shapenet, "val")[0].points)
    assert not torch.equal(sample.points, dataset(shapenet, "val", seed=1)[0].points)
    whole = dataset(shapenet, "val", num_points=40)[0].points.numpy()
    np.testing.assert_allclose(np.sort(whole, 0), np.sort(normalise(rows_of(7)[:, :3])[0], 0), atol=1e-6)


def test_hdf5_clouds_run_through_all_files(hdf5):
    clouds = dataset(hdf5, "test")
    assert len(clouds) == 6 and clouds.labels.tolist() == [0, 2, 1] * 2
    np.testing.assert_allclose(clouds[4].points.numpy(), normalise(rows_of(21)[:32, :3])[0], atol=1e-6)
    again = pickle.loads(pickle.dumps(clouds))
    assert torch.equal(again[4].points, clouds[4].points)


def test_meshes_are_sampled_reproducibly_with_face_normals(meshes):
    clouds = dataset(meshes, "train", num_points=200)
    assert clouds.class_names == CLASSES and clouds.labels.tolist() == [0, 0, 1, 1, 2, 2]
    sample = clouds[3]
    assert torch.equal(sample.points, dataset(meshes, "train", num_points=200)[3].points)
    # A tetrahedron has four normals, three of them along the axes.
    assert len(np.unique(sample.normals.numpy().round(4), axis=0)) == 4
    assert sample.normals.min() == -1


def test_clouds_right_in_the_class_folders_are_the_test_split(tmp_path):
    for name in CLASSES:
        (tmp_path / "clouds" / name).mkdir(parents=True)
        np.save(tmp_path / "clouds" / name / "one.npy", rows_of(1))
    clouds = dataset(tmp_path / "clouds", "test")
    assert clouds.names == ["chair_one", "glass_box_one", "sofa_one"]
    with pytest.raises(UserError, match="split 'train' is empty"):
        dataset(tmp_path / "clouds", "train")


def test_packed_integers_and_floats_are_the_same_clouds(packed):
    train, test = dataset(packed, "train"), dataset(packed, "test")
    np.testing.assert_allclose(train[1].points.numpy(), test[1].points.numpy(), atol=1e-4)
    assert test[1].name == "glass_box_1" and train.class_names == CLASSES
    assert set(train.splits) == {"train", "test"}


def test_if_defense_has_targets_and_modelnet_names(if_defense):
    clouds = dataset(if_defense, "test")
    assert clouds.class_names == MODELNET40 and len(MODELNET40) == len(set(MODELNET40)) == 40
    assert clouds.targets.tolist() == [7, 39, 0]
    assert dataset(if_defense, "train").targets is None


@pytest.mark.skipif(not MODELNET10.is_file(), reason="the real ModelNet10 clouds are not on this machine")
def test_the_stored_real_clouds_are_read():
    clouds = open_dataset(MODELNET10, "test")
    assert len(clouds) == 500 and np.bincount(clouds.labels).tolist() == [50] * 10
    sample = clouds[123]
    assert clouds.class_names[sample.label] == sample.name.rpartition("_")[0]
    np.testing.assert_allclose(sample.normals.norm(dim=1).numpy(), 1, atol=1e-5)


# Normals --------------------------------------------------------------------------------------------------------------


def test_missing_normals_are_estimated_once_and_said_once(packed, caplog):
    with caplog.at_level("INFO"):
        clouds = dataset(packed)
        first, again = clouds[0].normals, clouds[0].normals
        clouds[1]
    assert caplog.text.count("estimated") == 1
    assert first.data_ptr() == again.data_ptr()


def test_without_normals_none_are_estimated(packed, monkeypatch):
    monkeypatch.setattr("si_adv.data.dataset.complete_normals", lambda *_: pytest.fail("estimated"))
    assert dataset(packed, normals=False)[0].normals.shape == (0, 3)


# Cache ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["modelnet", "shapenet", "meshes"])
def test_the_cache_gives_the_same_clouds_and_no_file_is_read_again(request, fixture, tmp_path, monkeypatch):
    root = request.getfixturevalue(fixture)
    before = sorted(root.rglob("*"))
    direct, cached = dataset(root, "train"), dataset(root, "train", cache_dir=tmp_path / "cache")
    file = cached.build_cache()
    assert file.parent == tmp_path / "cache" and sorted(root.rglob("*")) == before
    monkeypatch.setattr(type(cached), "_read", lambda *_: pytest.fail("parsed again"))
    monkeypatch.setattr(type(direct), "_read", type(direct)._read)
    second = dataset(root, "train", cache_dir=tmp_path / "cache")
    assert second.build_cache() == file
    monkeypatch.undo()
    for other in (cached, second, pickle.loads(pickle.dumps(cached))):
        for index in range(len(direct)):
            assert torch.equal(other[index].points, direct[index].points)
            assert torch.equal(other[index].normals, direct[index].normals)


def test_a_changed_file_is_parsed_anew(modelnet, tmp_path):
    first = dataset(modelnet, "test", cache_dir=tmp_path / "cache")
    first.build_cache()
    path = modelnet / "sofa" / "sofa_0009.txt"
    np.savetxt(path, rows_of(99, count=50), delimiter=",", fmt="%.6f")
    second = dataset(modelnet, "test", cache_dir=tmp_path / "cache")
    assert second.build_cache() != first.build_cache()
    assert not torch.equal(first[0].points, second[0].points)


def test_a_cache_folder_that_cannot_be_made_is_only_a_warning(modelnet, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    clouds = dataset(modelnet, "test", cache_dir=tmp_path / "file" / "cache")
    assert clouds.build_cache() is None
    assert "no cache in" in caplog.text and len(clouds[0].points) == 32


@pytest.mark.parametrize("cache", [False, True])
def test_corrupt_clouds_are_skipped_in_training_and_errors_otherwise(modelnet, tmp_path, caplog, cache):
    path = modelnet / "glass_box" / "glass_box_0001.txt"
    lines = path.read_text().splitlines()
    lines[4] = "1,2,nan,0,0,1"
    path.write_text("\n".join(lines))
    options = {"cache_dir": tmp_path / "cache" if cache else None}
    training = dataset(modelnet, "train", skip_corrupt=True, **options)
    evaluation = dataset(modelnet, "train", **options)
    if cache:
        training.build_cache(), evaluation.build_cache()
    sample = training[1]
    assert sample.name == "sofa_0002" and sample.label == 2
    training[1]
    assert list(training.corrupt) == [1]
    assert caplog.text.count("skipped glass_box_0001") == 1 and "line 5: NaN" in caplog.text
    with pytest.raises(UserError, match=r"glass_box_0001\.txt, line 5: NaN"):
        evaluation[1]
    assert len(evaluation[0].points) == 32


def test_nothing_but_corrupt_clouds_is_an_error_in_training_too(modelnet):
    for path in modelnet.glob("*/*.txt"):
        path.write_text("1,2\n")
    with pytest.raises(UserError, match="no sound cloud"):
        dataset(modelnet, "train", skip_corrupt=True)[0]


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_a_missing_split_file_names_file_place_and_source(modelnet):
    (modelnet / "modelnet40_test.txt").unlink()
    with pytest.raises(
        UserError, match=r"modelnet40_test\.txt not found: expected modelnet40_normal_resampled .*https://"
    ):
        dataset(modelnet)


def test_a_missing_cloud_is_named(modelnet):
    (modelnet / "sofa" / "sofa_0009.txt").unlink()
    with pytest.raises(UserError, match=r"sofa_0009\.txt not found"):
        dataset(modelnet)[0]


def test_a_class_that_is_not_listed_is_named(modelnet):
    (modelnet / "modelnet40_test.txt").write_text("sofa_0009\nlamp_0001\n")
    with pytest.raises(UserError, match=r"modelnet40_test\.txt, entry 2: class 'lamp'"):
        dataset(modelnet)


def test_an_unknown_folder_lists_every_layout_and_its_source(tmp_path):
    (tmp_path / "readme.md").write_text("")
    with pytest.raises(UserError) as caught:
        recognise(tmp_path)
    for layout in LAYOUTS:
        assert layout.title in str(caught.value) and layout.looked_for in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_above_the_data_set_is_recognised_as_such(modelnet):
    with pytest.raises(UserError, match=r"did you mean .*modelnet40_normal_resampled\?"):
        recognise(modelnet.parent)


def test_paths_that_are_no_data_set(tmp_path):
    with pytest.raises(UserError, match="nowhere not found"):
        recognise(tmp_path / "nowhere")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(UserError, match="no known data set"):
        recognise(broken)


def test_a_split_that_the_layout_lacks(modelnet):
    with pytest.raises(UserError, match="no split 'val'; it has train, test"):
        dataset(modelnet, "val")


def test_more_points_than_there_are(packed):
    with pytest.raises(UserError, match="chair_1 has 40 points and 64 are asked for"):
        dataset(packed, num_points=64)[0]
    assert dataset(packed, num_points=64, allow_upsample=True)[0].points.shape == (64, 3)


def test_labels_beyond_the_class_names(tmp_path):
    points = np.zeros((1, 40, 3))
    np.savez(tmp_path / "x.npz", test_points=points, test_label=np.array([3]), class_names=np.array(CLASSES))
    with pytest.raises(UserError, match="label 3 with 3 class names"):
        dataset(tmp_path / "x.npz")


def test_no_path_means_the_procedural_shapes():
    clouds = open_dataset(None, "test", num_points=64, procedural_size=20)
    assert len(clouds) == 20 and clouds[5].points.shape == (64, 3)
