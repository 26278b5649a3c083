import struct

import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.data.files import (
    CLOUD_SUFFIXES,
    Geometry,
    complete_normals,
    normalise,
    prepare_cloud,
    read_cloud,
    read_geometry,
    read_table,
    write_npz,
    write_ply,
    write_text,
)

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((50, 3)).astype(np.float32)
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)

# A unit square of two triangles in the plane z = 0 and a quadrilateral wall of area 2 on its edge y = 1.
VERTICES = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (1, 1, 2), (0, 1, 2)], float)
FACES = [(0, 1, 2), (0, 2, 3), (3, 2, 4, 5)]
TRIANGLES = {(0, 1, 2), (0, 2, 3), (3, 2, 4), (3, 4, 5)}


def off_text(header="OFF\n6 3 0", faces=FACES, colour=""):
    rows = [" ".join(map(str, vertex)) for vertex in VERTICES]
    rows += [" ".join(map(str, (len(face), *face))) + colour for face in faces]
    return "\n".join([header, *rows, ""])


def triangles_of(geometry):
    return {tuple(face) for face in geometry.faces.tolist()}


# Tables ---------------------------------------------------------------------------------------------------------------


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


# Numpy ----------------------------------------------------------------------------------------------------------------


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


# Meshes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        off_text(),
        off_text("OFF6 3 0"),
        off_text("OFF 6 3 0"),
        off_text("# made by hand\nOFF # yes\n\n6 3 0 # counts"),
        off_text("OFF\n6 3"),
        off_text(colour=" 0.5 0.5 0.5"),
        off_text("COFF\n6 3 0").replace("\n0.0 0.0 0.0\n", "\n0.0 0.0 0.0\n"),
    ],
)
def test_off_headers_and_polygons(tmp_path, text):
    path = tmp_path / "mesh.off"
    path.write_text(text)
    geometry = read_geometry(path)
    np.testing.assert_array_equal(geometry.points, VERTICES)
    assert triangles_of(geometry) == TRIANGLES


def test_off_of_triangles_alone(tmp_path):
    path = tmp_path / "mesh.off"
    path.write_text(off_text("OFF6 2 0", FACES[:2]))
    assert triangles_of(read_geometry(path)) == {(0, 1, 2), (0, 2, 3)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (off_text("OFF\n6 5 0"), r"bad\.off is truncated"),
        (off_text().replace("3 0 2 3", "3 0 2 9"), r"bad\.off, line 10: a corner beyond the 6 vertices"),
        (off_text().replace("4 3 2 4 5", "4 3 2 4"), r"bad\.off, line 11: a face with 3 of its 4 corners"),
        (off_text().replace("1.0 1.0 2.0", "1.0 nan 2.0"), r"bad\.off, line 7: NaN"),
        ("PLY\n", r"bad\.off, line 1: not an OFF file"),
        ("OFF\nsix 3 0\n", r"bad\.off, line 2: expected the counts"),
    ],
)
def test_a_bad_off_is_named_by_line(tmp_path, text, message):
    path = tmp_path / "bad.off"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_geometry(path)


def test_obj_with_slashes_negative_corners_and_polygons(tmp_path):
    path = tmp_path / "mesh.obj"
    rows = ["o thing", *("v " + " ".join(map(str, vertex)) for vertex in VERTICES[:4]), "vn 0 0 1", "vt 0 0"]
    rows += ["f 1/1/1 2/1/1 3/1/1", "f -4//1 -2//1 -1//1"]
    rows += [*("v " + " ".join(map(str, vertex)) for vertex in VERTICES[4:]), "usemtl x", "f 4 3 5 6"]
    path.write_text("\n".join(rows))
    geometry = read_geometry(path)
    np.testing.assert_array_equal(geometry.points, VERTICES)
    assert triangles_of(geometry) == TRIANGLES
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n")
    with pytest.raises(UserError, match=r"mesh\.obj, line 4: a corner beyond the 3 vertices"):
        read_geometry(path)


def ply_bytes(form, faces=FACES, extra_face_property=False):
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(form)
    header = ["ply", f"format {form} 1.0", "comment by hand", "element vertex 6"]
    header += ["property double x", "property uchar flag", "property double y", "property double z"]
    header += [f"element face {len(faces)}", *(["property uchar mark"] if extra_face_property else [])]
    header += ["property list uchar int vertex_indices", "end_header", ""]
    body = b""
    for x, y, z in VERTICES:
        body += struct.pack(order + "dBdd", x, 7, y, z) if order else f"{x} 7 {y} {z}\n".encode()
    for face in faces:
        if order:
            mark = b"\x01" if extra_face_property else b""
            body += mark + struct.pack(f"{order}B{len(face)}i", len(face), *face)
        else:
            body += (" ".join(map(str, (len(face), *face))) + "\n").encode()
    return "\n".join(header).encode() + body


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("faces", [FACES, FACES[:2]], ids=["polygons", "triangles"])
def test_ply_meshes(tmp_path, form, faces):
    path = tmp_path / "mesh.ply"
    path.write_bytes(ply_bytes(form, faces))
    geometry = read_geometry(path)
    np.testing.assert_array_equal(geometry.points, VERTICES)
    assert triangles_of(geometry) == (TRIANGLES if len(faces) == 3 else {(0, 1, 2), (0, 2, 3)})


def test_binary_ply_with_other_face_properties(tmp_path):
    path = tmp_path / "mesh.ply"
    path.write_bytes(ply_bytes("binary_big_endian", extra_face_property=True))
    assert triangles_of(read_geometry(path)) == TRIANGLES


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("cut", [5, 60])
def test_a_truncated_ply_is_named(tmp_path, form, cut):
    path = tmp_path / "half.ply"
    data = ply_bytes(form)
    path.write_bytes(data[: -cut if form != "ascii" else -2 * cut])
    with pytest.raises(UserError, match=r"half\.ply"):
        read_geometry(path)


def test_a_mesh_is_sampled_by_area_with_face_normals_from_the_seed(tmp_path):
    path = tmp_path / "mesh.off"
    path.write_text(off_text())
    sample = read_cloud(path, 3000, seed=1)
    wall = sample.normals[:, 1].abs() > 0.5
    # One third of the area is the floor, two thirds are the wall; three standard deviations of the share.
    assert wall.float().mean().item() == pytest.approx(2 / 3, abs=0.026)
    floor_height = sample.points[~wall, 2]
    assert floor_height.max() - floor_height.min() < 1e-6
    assert torch.equal(sample.points, read_cloud(path, 3000, seed=1).points)
    assert not torch.equal(sample.points, read_cloud(path, 3000, seed=2).points)


def test_a_mesh_without_area_is_named(tmp_path):
    path = tmp_path / "flat.off"
    path.write_text("OFF 3 1 0\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n")
    with pytest.raises(UserError, match=r"flat\.off: the mesh has no area"):
        read_cloud(path)


# Clouds ---------------------------------------------------------------------------------------------------------------


def test_normalise_centres_on_the_mean_with_largest_radius_one():
    scaled, centre, radius = normalise(POINTS * 7.0 + 3.0)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-6)
    assert np.linalg.norm(scaled, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(scaled * radius + centre, POINTS * 7.0 + 3.0, rtol=1e-5, atol=1e-5)


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


def test_missing_normals_are_estimated_and_others_kept(caplog, tmp_path):
    sphere = NORMALS.astype(np.float32)
    given = sphere.copy()
    given[5:9] = 0
    completed = complete_normals(sphere, given)
    np.testing.assert_array_equal(np.delete(completed, range(5, 9), 0), np.delete(given, range(5, 9), 0))
    np.testing.assert_allclose(np.linalg.norm(completed[5:9], axis=1), 1, atol=1e-5)
    np.save(tmp_path / "cloud.npy", POINTS)
    with caplog.at_level("INFO"):
        sample = read_cloud(tmp_path / "cloud.npy", 50)
    assert "has no normals: estimated" in caplog.text
    np.testing.assert_allclose(sample.normals.norm(dim=1).numpy(), 1, atol=1e-5)


def test_normals_are_made_unit_and_broken_ones_zero():
    normals = NORMALS * 3
    normals[4] = np.nan
    _, prepared = prepare_cloud(POINTS, normals, None, "cloud")
    np.testing.assert_allclose(np.delete(prepared, 4, 0), np.delete(NORMALS, 4, 0), atol=1e-6)
    assert not prepared[4].any()


def test_unknown_and_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"cloud\.stl: unknown kind of file; known: \.txt"):
        read_geometry(tmp_path / "cloud.stl")
    with pytest.raises(UserError, match=r"cloud\.off not found"):
        read_geometry(tmp_path / "cloud.off")


@pytest.mark.parametrize("suffix", CLOUD_SUFFIXES)
def test_garbage_is_an_error_in_one_sentence(tmp_path, suffix):
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(RNG.bytes(500))
    with pytest.raises(UserError, match="garbage"):
        read_geometry(path)


# Writing --------------------------------------------------------------------------------------------------------------


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


def test_geometry_defaults_to_a_bare_cloud():
    assert Geometry(POINTS)[1:] == (None, None)
