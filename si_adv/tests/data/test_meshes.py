"""Meshes through trimesh: what people's files look like, and what is wrong with them."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from shared_utils import UserError
from si_adv.data.files import read_cloud, read_geometry

# A unit square of two triangles in the plane z = 0 and a quadrilateral wall of area 2 on its edge y = 1.
VERTICES = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (1, 1, 2), (0, 1, 2)], float)
FACES = [(0, 1, 2), (0, 2, 3), (3, 2, 4, 5)]
TRIANGLES = {(0, 1, 2), (0, 2, 3), (2, 4, 3), (3, 4, 5)}  # the smallest corner first


def off_text(header="OFF\n6 3 0", faces=FACES, colour=""):
    rows = [" ".join(map(str, vertex)) for vertex in VERTICES]
    rows += [" ".join(map(str, (len(face), *face))) + colour for face in faces]
    return "\n".join([header, *rows, ""])


def triangles_of(geometry):
    """The triangles in their sense of rotation, each from its smallest corner."""
    rolled = [np.roll(face, -int(face.argmin())) for face in geometry.faces]
    return {tuple(face.tolist()) for face in rolled}


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
        (off_text().replace("3 0 2 3", "3 0 2 9"), r"bad\.off: a face has a corner beyond the 6 vertices"),
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
    with pytest.raises(
        UserError, match=r"mesh\.obj is not a readable OBJ file .*a face has a vertex that is not there"
    ):
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


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_polygons_of_several_sizes_are_fans(tmp_path, form):
    faces = [(0, 1, 2), (0, 1, 2, 4, 5), (3, 2, 4, 5)]
    fans = {(0, 1, 2), (0, 2, 4), (0, 4, 5), (2, 4, 3), (3, 4, 5)}
    (tmp_path / "mesh.ply").write_bytes(ply_bytes(form, faces) + (b"" if form == "ascii" else b"\n"))
    (tmp_path / "mesh.off").write_text(off_text(faces=faces))
    lines = [f"v {x} {y} {z}" for x, y, z in VERTICES]
    lines += ["f " + " ".join(str(corner + 1) for corner in face) for face in faces]
    (tmp_path / "mesh.obj").write_text("\n".join(lines))
    for suffix in (".ply", ".off", ".obj"):
        geometry = read_geometry(tmp_path / f"mesh{suffix}")
        np.testing.assert_array_equal(geometry.points, VERTICES)
        assert triangles_of(geometry) == fans, suffix


def test_what_a_mesh_refers_to_is_never_opened(tmp_path, monkeypatch):
    (tmp_path / "mesh.mtl").write_text("newmtl paint\nmap_Kd picture.png\n")
    (tmp_path / "mesh.obj").write_text(
        "mtllib mesh.mtl\nusemtl paint\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    )
    (tmp_path / "mesh.ply").write_bytes(
        ply_bytes("ascii").replace(b"comment by hand", b"comment TextureFile picture.png")
    )
    opened, real = [], Path.open
    monkeypatch.setattr("builtins.open", lambda path, *rest, **more: pytest.fail(f"opened {path}"))
    monkeypatch.setattr(Path, "open", lambda self, *rest, **more: opened.append(self.name) or real(self, *rest, **more))
    assert len(read_geometry(tmp_path / "mesh.obj").faces) == 1 and len(read_geometry(tmp_path / "mesh.ply").faces) == 4
    assert set(opened) <= {"mesh.obj", "mesh.ply"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1 0\nv 0 1 0\nf 1 2 3\n", r"bad\.obj, line 2: expected v x y z"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", r"bad\.obj, line 4: a corner beyond"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf -4 1 2\n", r"bad\.obj, line 4: a corner beyond"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf a b c\n", r"bad\.obj is not a readable OBJ file .*not a number"),
        ("v 0 0 0\nv 1 nan 0\nv 0 1 0\nf 1 2 3\n", r"bad\.obj: vertex 1 .* is NaN"),
    ],
)
def test_a_bad_obj_is_named(tmp_path, text, message):
    path = tmp_path / "bad.obj"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_geometry(path)


def test_a_ply_without_coordinates_or_with_an_unknown_type_is_named(tmp_path):
    path = tmp_path / "bad.ply"
    path.write_bytes(ply_bytes("ascii").replace(b"property double z\n", b""))
    with pytest.raises(UserError, match=r"bad\.ply is not a readable PLY file .*'z'"):
        read_geometry(path)
    path.write_bytes(ply_bytes("ascii").replace(b"property double z", b"property quad z"))
    with pytest.raises(UserError, match=r"bad\.ply is not a readable PLY file .*'quad'"):
        read_geometry(path)


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
