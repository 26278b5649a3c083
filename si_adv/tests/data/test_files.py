"""Text and numpy files, and whatever is wrong with them."""

import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.data.files import CLOUD_SUFFIXES, read_cloud, read_geometry
from si_adv.data.sample import normalise
from si_adv.data.text import read_table
from si_adv.data.writers import write_npz, write_text

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((50, 3)).astype(np.float32)
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)


@pytest.mark.parametrize("separator", [" ", ",", ", ", "\t"])
@pytest.mark.parametrize("suffix", [".txt", ".xyz", ".pts"])
def test_text_with_normals_is_read(tmp_path, separator, suffix):
    path = tmp_path / f"cloud{suffix}"
    rows = np.concatenate((POINTS, NORMALS), 1)
    path.write_text("# a comment\n\n" + "\n".join(separator.join(f"{v:.9g}" for v in row) for row in rows))
    geometry = read_geometry(path)
    np.testing.assert_array_equal(geometry.points.astype(np.float32), POINTS)
    np.testing.assert_allclose(geometry.normals, NORMALS, atol=1e-7)
    assert geometry.faces is None


def test_colours_are_not_taken_for_normals(tmp_path):
    blue = np.tile((0.0, 0.0, 1.0), (50, 1))  # unit length, as a map that is zero everywhere is written
    write_text(tmp_path / "blue.txt", POINTS, blue)
    np.savetxt(tmp_path / "bytes.txt", np.concatenate((POINTS, RNG.integers(0, 256, (50, 3))), 1))
    for name in ("blue.txt", "bytes.txt"):
        geometry = read_geometry(tmp_path / name)
        assert geometry.normals is None
        np.testing.assert_array_equal(geometry.points.astype(np.float32), POINTS)


def test_pts_with_a_count_and_intensity(tmp_path):
    path = tmp_path / "scan.pts"
    path.write_text("2\n1 2 3 0.5\n4 5 6 0.25\n")
    np.testing.assert_array_equal(read_geometry(path).points, [(1, 2, 3), (4, 5, 6)])
    path.write_text("3\n1 2 3 0.5\n4 5 6 0.25\n")
    with pytest.raises(UserError, match=r"scan\.pts is truncated.* 3 points and has 2"):
        read_geometry(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 0\n# remark\n1 nan 1\n", r"bad\.txt, line 3: NaN or infinite"),
        ("0,0,0\n\n1,inf,1\n", r"bad\.txt, line 3: NaN or infinite"),
        ("0 0 0\n1 1 1\n2 2\n", r"bad\.txt, line 3: 2 columns where 3 are expected"),
        ("0 0 0\n1 x 1\n", r"bad\.txt, line 2: 'x' is not a number"),
        ("0 0 0 0\n1 1 1 1\n", r"bad\.txt, line 1: 4 columns"),
        ("# nothing\n", r"bad\.txt is empty"),
        ("<!DOCTYPE html><html>", r"bad\.txt is a web page"),
    ],
)
def test_a_bad_table_is_named_by_file_and_line(tmp_path, text, message):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_geometry(path)


def test_only_the_first_rows_are_read(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("1,2,3\n4,5,6\nnot a number\n")
    np.testing.assert_array_equal(read_table(path, 2), [(1, 2, 3), (4, 5, 6)])
    path.write_text("\n# remark\n1,2,3\n  \n4,5,6\n7,8,9\n")
    np.testing.assert_array_equal(read_table(path, 2), [(1, 2, 3), (4, 5, 6)])


def test_numpy_files_are_read(tmp_path):
    np.save(tmp_path / "cloud.npy", np.concatenate((POINTS, NORMALS), 1))
    write_npz(tmp_path / "cloud.npz", points=torch.from_numpy(POINTS), normals=NORMALS)
    for name in ("cloud.npy", "cloud.npz"):
        geometry = read_geometry(tmp_path / name)
        np.testing.assert_array_equal(geometry.points, POINTS)
        np.testing.assert_allclose(geometry.normals, NORMALS)


def test_bad_numpy_files_are_named(tmp_path):
    np.save(tmp_path / "batch.npy", np.zeros((2, 5, 3)))
    with pytest.raises(UserError, match=r"batch\.npy.*shape \(2, 5, 3\)"):
        read_geometry(tmp_path / "batch.npy")
    np.save(tmp_path / "code.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"code\.npy is not a readable npy"):
        read_geometry(tmp_path / "code.npy")
    whole = tmp_path / "whole.npz"
    write_npz(whole, points=POINTS)
    (tmp_path / "half.npz").write_bytes(whole.read_bytes()[:200])
    with pytest.raises(UserError, match=r"half\.npz"):
        read_geometry(tmp_path / "half.npz")
    bad = POINTS.copy()
    bad[7, 1] = np.nan
    np.save(tmp_path / "nan.npy", bad)
    with pytest.raises(UserError, match=r"nan\.npy: row 7 "):
        read_geometry(tmp_path / "nan.npy")


def test_the_first_rows_are_taken_and_then_normalised(tmp_path):
    np.save(tmp_path / "cloud.npy", POINTS)
    sample = read_cloud(tmp_path / "cloud.npy", 20)
    np.testing.assert_allclose(sample.points.numpy(), normalise(POINTS[:20].astype(float))[0], atol=1e-6)


def test_too_few_points_are_an_error_unless_repeated_on_request(tmp_path):
    path = tmp_path / "cloud.npy"
    np.save(path, POINTS)
    with pytest.raises(UserError, match=r"cloud\.npy has 50 points and 64 are asked for"):
        read_cloud(path, 64)
    sample = read_cloud(path, 64, allow_upsample=True)
    assert torch.equal(sample.points[50:], sample.points[:14])


def test_a_cloud_without_extent_is_named(tmp_path):
    np.save(tmp_path / "dot.npy", np.ones((30, 3)))
    with pytest.raises(UserError, match=r"dot\.npy has no extent"):
        read_cloud(tmp_path / "dot.npy", 20)


def test_unknown_and_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"cloud\.las: unknown kind of file; known: \.txt"):
        read_geometry(tmp_path / "cloud.las")
    with pytest.raises(UserError, match=r"cloud\.off not found"):
        read_geometry(tmp_path / "cloud.off")


@pytest.mark.parametrize("suffix", CLOUD_SUFFIXES)
def test_garbage_is_an_error_in_one_sentence(tmp_path, suffix):
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(RNG.bytes(500))
    with pytest.raises(UserError, match="garbage"):
        read_geometry(path)
