"""A saved cloud that is in the frame of the classifier says so, and is not normalised again."""

import numpy as np
import pytest
import torch

from si_adv.data.files import read_cloud, read_clouds
from si_adv.data.layouts import open_dataset, recognise
from si_adv.data.sample import FRAME, prepare_cloud
from si_adv.data.writers import write_npz, write_ply, write_text

RNG = np.random.default_rng(0)
# Neither centred nor of radius one: normalising it again would move every point.
POINTS = (0.1 + 0.7 * RNG.standard_normal((40, 3))).astype(np.float32)
OTHERS = (POINTS[::-1] * 1.5).copy()


def write(path, framed):
    if path.suffix == ".ply":
        write_ply(path, POINTS, framed=framed)
    elif path.suffix == ".txt":
        write_text(path, POINTS, np.full((40, 3), 0.5), framed=framed)
    else:
        write_npz(path, points=POINTS, **({"frame": FRAME} if framed else {}))


@pytest.mark.parametrize("suffix", [".ply", ".txt", ".npz"])
def test_a_cloud_in_its_frame_comes_back_to_the_bit(tmp_path, suffix):
    write(tmp_path / f"framed{suffix}", framed=True)
    write(tmp_path / f"plain{suffix}", framed=False)
    assert np.array_equal(read_cloud(tmp_path / f"framed{suffix}", 40).points.numpy(), POINTS)
    plain = read_cloud(tmp_path / f"plain{suffix}", 40).points
    assert abs(float(plain.norm(dim=1).max()) - 1) < 1e-6 and float(plain.mean(0).abs().max()) < 1e-6


def test_a_text_file_in_its_frame_is_still_a_table_for_others(tmp_path):
    write_text(tmp_path / "a.txt", POINTS, framed=True)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "a.txt").astype(np.float32), POINTS)


def test_an_ascii_ply_keeps_its_frame_and_a_word_in_the_data_gives_none(tmp_path):
    rows = "\n".join(f"{x:.9g} {y:.9g} {z:.9g}" for x, y, z in POINTS)
    header = (
        "ply\nformat ascii 1.0\n{}element vertex 40\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    (tmp_path / "framed.ply").write_text(header.format(f"comment {FRAME}\n") + rows + "\n")
    (tmp_path / "plain.ply").write_text(header.format("comment another frame\n") + rows + "\n")
    assert np.array_equal(read_cloud(tmp_path / "framed.ply", 40).points.numpy(), POINTS)
    assert not np.array_equal(read_cloud(tmp_path / "plain.ply", 40).points.numpy(), POINTS)


def test_fewer_rows_of_a_cloud_in_its_frame_stay_where_they_are(tmp_path):
    write(tmp_path / "a.ply", framed=True)
    assert np.array_equal(read_cloud(tmp_path / "a.ply", 20).points.numpy(), POINTS[:20])
    points, _ = prepare_cloud(POINTS, None, 60, "a", allow_upsample=True, framed=True)
    assert np.array_equal(points[40:], POINTS[:20])


@pytest.fixture
def attacked(tmp_path):
    """What ``attack.py`` leaves of one run."""
    path = tmp_path / "victim-si_ifgm-0.npz"
    write_npz(
        path,
        adv=np.stack((POINTS, OTHERS)),
        clean=np.zeros((2, 40, 3), np.float32),
        label=np.array([1, 0]),
        name=np.array(["b_1", "a_0"]),
        class_names=np.array(["a", "b"]),
        frame=FRAME,
    )
    return path


def test_the_clouds_of_an_attack_are_a_data_set_in_their_frame(attacked):
    dataset = open_dataset(attacked, "test", 40, normals=False)
    assert dataset.class_names == ("a", "b") and dataset.labels.tolist() == [1, 0]
    assert np.array_equal(dataset[0].points.numpy(), POINTS) and dataset[1].name == "a_0"
    assert recognise(attacked).title.startswith("attacked clouds")


def test_the_clouds_of_an_attack_are_read_one_by_one(attacked):
    first, second = read_clouds(attacked, 40)
    assert (first.name, first.label, second.name) == ("b_1", 1, "a_0")
    assert np.array_equal(second.points.numpy(), OTHERS)
    write(attacked.with_name("one.ply"), framed=True)
    (single,) = read_clouds(attacked.with_name("one.ply"), 40)
    assert torch.equal(single.points, first.points)


def test_a_folder_of_classes_and_a_packed_file_keep_the_frame(tmp_path):
    for name in ("chair", "table"):
        (tmp_path / "folder" / name / "test").mkdir(parents=True)
        write(tmp_path / "folder" / name / "test" / "x.ply", framed=True)
    dataset = open_dataset(tmp_path / "folder", "test", 40, normals=False, cache_dir=tmp_path / "cache")
    assert np.array_equal(dataset[0].points.numpy(), POINTS)
    write_npz(tmp_path / "packed.npz", test_points=POINTS[None], test_label=np.array([0]), frame=FRAME)
    assert np.array_equal(open_dataset(tmp_path / "packed.npz", "test", 40)[0].points.numpy(), POINTS)
