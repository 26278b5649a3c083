"""What people have on disk is read as what it is, or refused in one sentence: never as something else."""

import struct

import numpy as np
import pytest

from shared_utils import UserError
from si_adv.data.files import read_geometry
from si_adv.data.layouts import open_dataset, recognise
from si_adv.data.text import read_table
from si_adv.data.writers import write_npz

RNG = np.random.default_rng(0)
POINTS = RNG.standard_normal((30, 3)).astype(np.float32).astype(np.float64)
NORMALS = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)


def rows(columns, between=" ", decimal="."):
    return "".join(between.join(f"{v:.9g}".replace(".", decimal) for v in row) + "\n" for row in columns)


@pytest.mark.parametrize("suffix", [".txt", ".xyz", ".pts", ".csv"])
@pytest.mark.parametrize(
    ("between", "decimal"), [(" ", ","), ("\t", ","), (";", ","), ("; ", ","), (";", "."), (", ", "."), (",", ".")]
)
def test_columns_and_decimals_of_every_habit_are_the_same_cloud(tmp_path, suffix, between, decimal):
    path = tmp_path / f"cloud{suffix}"
    path.write_text(rows(np.concatenate((POINTS, NORMALS), 1), between, decimal))
    geometry = read_geometry(path)
    np.testing.assert_allclose(geometry.points, POINTS, rtol=1e-8)
    np.testing.assert_allclose(geometry.normals, NORMALS, rtol=1e-8)


def test_decimal_commas_beside_whole_numbers_and_counts(tmp_path):
    path = tmp_path / "a.pts"
    path.write_text("3\n0 1 2\n0,5 1 -2,25\n1e-1 ,5 3\n")
    np.testing.assert_allclose(read_geometry(path).points, [(0, 1, 2), (0.5, 1, -2.25), (0.1, 0.5, 3)])
    path = tmp_path / "whole.txt"  # columns parted by commas alone
    path.write_text("1,2,3\n4,5,6\n")
    np.testing.assert_array_equal(read_geometry(path).points, [(1, 2, 3), (4, 5, 6)])


def test_thousands_are_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 2 3\n1.234,5 2.000,1 3,0\n")
    with pytest.raises(UserError, match=r"a\.txt, line 2: numbers with a point and a comma"):
        read_geometry(path)


def test_commas_that_are_both_decimal_signs_and_separators_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("0,5,1,25,0,75\n1,5,-0,05,0,75\n")
    with pytest.raises(UserError, match="line 2: decimal commas, and commas between the columns too"):
        read_table(path)
    path.write_text("0,5,1,25,0,75\n1,5,10,5,0,75\n")  # whole numbers, as far as anyone can tell
    assert read_table(path).shape == (2, 6)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_byte_order_marks_are_no_numbers(tmp_path, encoding):
    for name, text in (("a.txt", rows(POINTS)), ("a.csv", "x,y,z\n" + rows(POINTS, ","))):
        mark = "\ufeff" if encoding == "utf-16-be" else ""
        (tmp_path / name).write_text(mark + text, encoding=encoding)
        np.testing.assert_allclose(read_geometry(tmp_path / name).points, POINTS, rtol=1e-8)
    (tmp_path / "a.off").write_text(mark + "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", encoding=encoding)
    assert read_geometry(tmp_path / "a.off").faces.tolist() == [[0, 1, 2]]


def test_named_columns_of_a_csv_are_found(tmp_path):
    path, colours = tmp_path / "scan.csv", RNG.integers(0, 256, (30, 1))
    path.write_text('id,"nx","ny","nz",X,Y,Z\n' + rows(np.concatenate((colours, NORMALS, POINTS), 1), ","))
    np.testing.assert_allclose(read_geometry(path).points, POINTS, rtol=1e-8)
    np.testing.assert_allclose(read_geometry(path).normals, NORMALS, rtol=1e-8)
    path.write_text("easting,northing,height\n1,2,3\n")
    with pytest.raises(UserError, match=r"scan\.csv, line 1: 3 names, easting northing height; expected x, y and z"):
        read_geometry(path)
    path.write_text("x,y,z\n1,2\n")
    with pytest.raises(UserError, match=r"scan\.csv, line 1: 3 names"):
        read_geometry(path)


def pcd(kind, body, fields="x y z normal_x normal_y normal_z rgb", points=30):
    count = len(fields.split())
    lines = ["# .PCD v0.7", "VERSION 0.7", f"FIELDS {fields}", f"SIZE {'4 ' * count}", f"TYPE {'F ' * count}"]
    lines += [f"COUNT {'1 ' * count}", f"WIDTH {points}", "HEIGHT 1", "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {points}"]
    return "\n".join([*lines, f"DATA {kind}", ""]).encode() + body


@pytest.mark.parametrize("kind", ["ascii", "binary"])
def test_pcd_is_read(tmp_path, kind):
    table = np.concatenate((POINTS, NORMALS, np.ones((30, 1))), 1)
    body = rows(table).encode() if kind == "ascii" else table.astype("<f4").tobytes()
    path = tmp_path / "a.pcd"
    path.write_bytes(pcd(kind, body))
    np.testing.assert_allclose(read_geometry(path).points, POINTS, rtol=1e-7)
    np.testing.assert_allclose(read_geometry(path).normals, NORMALS, rtol=1e-6)
    table[3, :3] = np.nan  # a pixel that the scanner did not see
    path.write_bytes(pcd(kind, rows(table).encode() if kind == "ascii" else table.astype("<f4").tobytes()))
    assert len(read_geometry(path).points) == 29
    path.write_bytes(pcd(kind, body[: len(body) // 2]))
    with pytest.raises(UserError, match=r"a\.pcd is truncated: it announces 30 points and has 15"):
        read_geometry(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pcd("binary_compressed", b""), "kind binary_compressed: save it as ascii or binary"),
        (pcd("ascii", b"1 2 3\n", "a b c", 1), "has the fields a b c: expected x, y and z"),
        (pcd("ascii", b"1 2\n", "x y z", 1), "point 1: 2 values where 3 are expected"),
        (pcd("ascii", b"1 2 k\n", "x y z", 1), "not a number"),
        (pcd("ascii", b"1 2 inf\n", "x y z", 1), "a point, 0 .counted from 0., is NaN or infinite"),
        (b"VERSION 0.7\nDATA ascii\n1 2 3\n", "not a readable PCD file"),
        (b"1 2 3\n4 5 6\n", "no line DATA"),
    ],
)
def test_a_pcd_that_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "a.pcd").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_geometry(tmp_path / "a.pcd")


CORNERS = np.array([[(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 0, 0), (0, 1, 0), (0, 0, 1)]], float)


def test_stl_is_read_as_a_mesh(tmp_path):
    record = b"".join(struct.pack("<12fH", 0, 0, 1, *corners.reshape(-1), 0) for corners in CORNERS)
    (tmp_path / "binary.stl").write_bytes(bytes(80) + struct.pack("<I", 2) + record)
    facets = "".join(
        "facet normal 0 0 1\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in corners)
        + "endloop\nendfacet\n"
        for corners in CORNERS
    )
    (tmp_path / "ascii.stl").write_text(f"solid a\n{facets}endsolid a\n")
    for name in ("binary.stl", "ascii.stl"):
        geometry = read_geometry(tmp_path / name)
        np.testing.assert_allclose(geometry.points[geometry.faces], CORNERS)
    (tmp_path / "half.stl").write_bytes(bytes(80) + struct.pack("<I", 2) + record[:60])
    with pytest.raises(UserError, match=r"half\.stl is truncated: it announces 2 facets and has 1"):
        read_geometry(tmp_path / "half.stl")
    (tmp_path / "empty.stl").write_text("solid a\nendsolid a\n")
    with pytest.raises(UserError, match=r"empty\.stl"):
        read_geometry(tmp_path / "empty.stl")


@pytest.mark.parametrize("kind", [np.complex64, bool, "U8", "datetime64[s]"])
def test_arrays_that_are_no_coordinates_are_refused(tmp_path, kind):
    values = np.zeros((30, 3)).astype(kind)
    np.save(tmp_path / "a.npy", values)
    write_npz(tmp_path / "a.npz", points=values)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UserError, match=r"expected one cloud \(N, 3\)"):
            read_geometry(tmp_path / name)
    write_npz(tmp_path / "set.npz", test_points=values[None], test_label=np.zeros(1, int))
    with pytest.raises(UserError, match="which is no coordinate"):
        open_dataset(tmp_path / "set.npz", "test", 30)


@pytest.mark.parametrize(
    "labels", [np.array([0.5, 1]), np.array([0, np.nan]), np.array([1j, 0]), np.array(["chair", "table"])]
)
def test_labels_that_are_no_whole_numbers_are_refused(tmp_path, labels):
    write_npz(tmp_path / "set.npz", test_points=np.stack((POINTS, POINTS)), test_label=labels)
    with pytest.raises(UserError, match="labels are whole numbers"):
        open_dataset(tmp_path / "set.npz", "test", 30)


def test_labels_stored_as_floats_are_read(tmp_path):
    write_npz(tmp_path / "set.npz", test_points=np.stack((POINTS, POINTS)), test_label=np.array([1.0, 0.0]))
    assert open_dataset(tmp_path / "set.npz", "test", 30).labels.tolist() == [1, 0]


@pytest.fixture
def scanned(tmp_path):
    h5py = pytest.importorskip("h5py")
    for prefix, count in (("training", 3), ("test", 2)):
        with h5py.File(tmp_path / f"{prefix}_objectdataset.h5", "w") as store:
            store["data"] = np.stack([POINTS + i for i in range(count)]).astype(np.float32)
            store["label"] = np.arange(count) + 3
            store["mask"] = np.ones((count, 30))
    return tmp_path


def test_scanobjectnn_is_recognised_by_folder_and_by_file(scanned):
    for root in (scanned, scanned / "test_objectdataset.h5", scanned / "training_objectdataset.h5"):
        assert recognise(root).title == "ScanObjectNN"
        test, train = (open_dataset(root, split, 30, normals=False) for split in ("test", "train"))
        assert len(test) == 2 and len(train) == 3 and test.labels.tolist() == [3, 4]
        assert test.class_names[3] == "cabinet" and len(test.class_names) == 15
        np.testing.assert_allclose(test[1].points, test[0].points, atol=1e-5)  # both normalised


def test_several_variants_of_scanobjectnn_are_not_mixed(scanned):
    (scanned / "test_objectdataset_augmentedrot_scale75.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"holds 2 variants: give the file of one, such as .*test_objectdataset\.h5"):
        open_dataset(scanned, "test", 30)
    assert len(open_dataset(scanned / "test_objectdataset.h5", "test", 30)) == 2
    with pytest.raises(UserError, match="not a readable HDF5 file"):
        open_dataset(scanned / "test_objectdataset_augmentedrot_scale75.h5", "test", 30)
    (scanned / "training_objectdataset.h5").unlink()
    with pytest.raises(UserError, match=r"training_objectdataset\.h5 not found: expected ScanObjectNN"):
        open_dataset(scanned / "test_objectdataset.h5", "train", 30)


def test_a_folder_of_meshes_knows_the_surfaces_of_its_clouds(tmp_path):
    from si_adv.surface import distance_to_triangles

    for name in ("a", "b"):
        (tmp_path / name / "test").mkdir(parents=True)
        (tmp_path / name / "test" / "x.off").write_text("OFF\n4 2 0\n5 0 0\n7 0 0\n5 3 1\n5 0 4\n3 0 1 2\n3 0 1 3\n")
    (tmp_path / "b" / "test" / "y.xyz").write_text(rows(POINTS))
    dataset = open_dataset(tmp_path, "test", 64, allow_upsample=True, cache_dir=None)
    for index in (0, 1):
        assert distance_to_triangles(dataset[index].points.numpy(), dataset.surface(index)).max() < 1e-6
        assert dataset.stores_normals(index)
    assert dataset[2].name == "b_y" and dataset.surface(2) is None and not dataset.stores_normals(2)
