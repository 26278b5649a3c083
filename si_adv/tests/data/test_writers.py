"""What is written comes back, whole or not at all."""

import numpy as np
import pytest
import torch

from si_adv.data.files import read_geometry
from si_adv.data.writers import write_npz, write_ply, write_text

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((50, 3)).astype(np.float32)
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)


def test_ply_holds_points_normals_scalar_and_colours(tmp_path):
    path = tmp_path / "out.ply"
    scalar, colours = RNG.random(50), RNG.random((50, 3))
    write_ply(path, torch.from_numpy(POINTS), NORMALS, scalar, colours)
    geometry = read_geometry(path)
    np.testing.assert_array_equal(geometry.points.astype(np.float32), POINTS)
    np.testing.assert_array_equal(geometry.normals.astype(np.float32), NORMALS)
    header, body = path.read_bytes().split(b"end_header\n")
    assert b"property float quality" in header and b"property uchar red" in header
    rows = np.frombuffer(body, np.dtype([("xyz", "<f4", 6), ("quality", "<f4"), ("rgb", "u1", 3)]))
    np.testing.assert_allclose(rows["quality"], scalar, rtol=1e-6)
    np.testing.assert_allclose(rows["rgb"] / 255, colours, atol=0.5 / 255 + 1e-9)


def test_text_comes_back_exactly_and_is_never_appended(tmp_path):
    path = tmp_path / "out.txt"
    for _ in range(2):
        write_text(path, POINTS, np.full((50, 3), 0.25))
    lines = path.read_text().splitlines()
    assert len(lines) == 50 and lines[0].split()[3:] == ["0.25"] * 3
    np.testing.assert_array_equal(np.loadtxt(path)[:, :3].astype(np.float32), POINTS)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.npz"
    write_npz(path, points=POINTS)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_npz(path, points=_Unwritable())
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["out.npz"]


class _Unwritable:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("no array")


def test_wrong_shapes_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="normals has shape"):
        write_ply(tmp_path / "x.ply", POINTS, NORMALS[:10])
    with pytest.raises(ValueError, match="points has shape"):
        write_text(tmp_path / "x.txt", POINTS[None])
    assert not list(tmp_path.iterdir())
