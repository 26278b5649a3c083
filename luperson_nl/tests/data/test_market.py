"""Lists of every layout, and what is wrong with data said in one sentence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from luperson_nl.data import market, splits
from luperson_nl.data.image_lists import find_images, read_image
from luperson_nl.data.own_pictures import first_as_query
from shared_utils import UserError

SHARED = Path(__file__).parents[4] / "shared/data/luperson_nl"


def put(root, *names):
    for name in names:
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")


def family(root):
    put(root, "bounding_box_train/0002_c1s1_000451_03.jpg", "bounding_box_train/0007_c2s3_001_01.JPG")
    put(
        root,
        "query/0003_c1_f0046985.png",
        "bounding_box_test/0003_c2_f0047.bmp",
        "bounding_box_test/0000_c1s1_1_0.jpeg",
    )
    put(root, "bounding_box_test/-1_c3s1_000001_00.jpg", "bounding_box_test/Thumbs.db")


@pytest.mark.parametrize(
    "folder", ["", "market1501", "Market-1501-v15.09.15", "DukeMTMC-reID", "cuhk03_np/labeled", "msmt17"]
)
def test_the_market_family_is_found_below_its_root(tmp_path, folder):
    family(tmp_path / folder)
    data = market.read(tmp_path)
    assert data.train.pid.tolist() == [2, 7] and data.train.camera.tolist() == [1, 2]
    assert data.gallery.pid.tolist() == [0, 3]  # the id -1 is dropped, 0 stays as a distractor
    assert data.train.frame.tolist() == [451, 1] and data.train.video.tolist() == [1001, 2003]
    assert data.query.frame.tolist() == [46985] and data.query.num_ids == 1
    report = data.report()
    assert "1 .JPG" in report and "1 with the id -1" in report and "1 not a picture (.db)" in report


def test_one_of_several_data_sets_is_chosen_by_name(tmp_path):
    family(tmp_path / "market1501")
    family(tmp_path / "duke")
    with pytest.raises(UserError, match=r"several data sets .*market1501.*duke"):
        market.read(tmp_path)
    assert market.read(tmp_path, "duke").root == tmp_path / "duke"
    with pytest.raises(UserError, match=r"msmt17/bounding_box_train or .*MSMT17_V1.* not found"):
        market.read(tmp_path, "msmt17")


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_raw_msmt17_takes_the_camera_from_the_third_field(tmp_path, folders):
    root = tmp_path / "MSMT17_V1"
    names = [f"000{i}/000{i}_000_0{i + 1}_0303morning_0008_0.jpg" for i in range(4)]
    put(root / folders[0], *names[:2])
    put(root / folders[1], *names[2:])
    for part, name, label in zip(("train", "val", "query", "gallery"), names, (0, 1, 2, 3), strict=True):
        (root / f"list_{part}.txt").write_text(f"{name} {label}\r\n")
    data = market.read(tmp_path)
    assert data.train.pid.tolist() == [0, 1] and data.train.camera.tolist() == [1, 2]
    assert data.query.camera.tolist() == [3] and data.gallery.camera.tolist() == [4]
    (root / folders[0] / names[0]).unlink()
    with pytest.raises(UserError, match=r"list_train.txt, line 1 names .*0000_000_01.* not there"):
        market.read(root)


def test_own_folders_have_text_or_numbers_as_persons_and_cameras_where_names_tell(tmp_path):
    put(tmp_path, "anna/1_c2.jpg", "anna/2_cam3.PNG", "anna/3_c2.jpg", "bert/x.jpg", "bert/.hidden.jpg", "notes.txt")
    pictures = market.read(tmp_path).train
    assert pictures.pid.tolist() == [0, 0, 0, 1] and pictures.camera.tolist() == [2, 3, 2, -1]
    # Cameras 2 and 3 ask for anna; bert occurs once, and has nobody to be found by.
    assert first_as_query(pictures.pid, pictures.camera).tolist() == [True, True, False, False]
    put(tmp_path / "parts", "train/7/a_c1.jpg", "query/12/a_c1.jpg", "gallery/12/b_c2.jpg")
    data = market.read(tmp_path / "parts")
    assert data.query.pid.tolist() == data.gallery.pid.tolist() == [12] and data.train.pid.tolist() == [7]


def test_a_csv_lists_pictures_of_anywhere(tmp_path):
    put(tmp_path, "a/1.jpg", "a/2.jpg")
    table = tmp_path / "list.csv"
    table.write_text("path,pid,camid,split\r\na/1.jpg,p7,1,query\r\na/2.jpg,p7,2,gallery\r\n")
    data = market.read(table)
    assert data.query.camera.tolist() == [1] and data.gallery.pid.tolist() == [0] and len(data.train) == 0
    for text, words in (
        ("path,id\na/1.jpg,1\n", "no column pid"),
        ("path,pid,split\na/1.jpg,1,testing\n", r"line 2: the split is one of train, query, gallery, got 'testing'"),
        ("path,pid,camid\na/1.jpg,1,left\n", "line 2: camid is a number, got 'left'"),
        ("path,pid\na/1.jpg,1\na/9.jpg,1\n", r"line 3 names .*9.jpg, which is not there"),
        ("path,pid\n", "lists no picture"),
    ):
        table.write_text(text)
        with pytest.raises(UserError, match=words):
            market.read(table)


def test_what_is_not_a_data_set_is_named(tmp_path):
    with pytest.raises(UserError, match="absent not found"):
        market.read(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no data set: expected bounding_box_train"):
        market.read(tmp_path)
    put(tmp_path, "query/0002.jpg", "bounding_box_test/0002_c1.jpg")
    with pytest.raises(UserError, match=r"0002.jpg has no person and camera in its name"):
        market.read(tmp_path)
    for path in tmp_path.glob("*/*"):
        path.unlink()
    with pytest.raises(UserError, match="holds no picture in bounding_box_train"):
        market.read(tmp_path)


def test_pictures_are_found_and_read_whatever_their_ending(tmp_path):
    put(tmp_path, "b/empty.jpg", "b/text.png")
    (tmp_path / "b/empty.jpg").write_bytes(b"")
    Image.new("RGB", (4, 6), (200, 10, 30)).save(tmp_path / "a.JPG", format="png")
    images = find_images(tmp_path)
    assert [path.name for path in images] == ["a.JPG", "empty.jpg", "text.png"]
    assert read_image(images[0]).shape == (6, 4, 3) and read_image(images[0])[0, 0].tolist() == [200, 10, 30]
    for path, words in (
        (images[1], r"empty.jpg is empty \(0 bytes\)"),
        (images[2], "text.png cannot be read as a picture"),
    ):
        with pytest.raises(UserError, match=words):
            read_image(path)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="none holds no picture"):
        find_images(tmp_path / "none")


@pytest.fixture
def train(tmp_path):
    put(tmp_path / "data/bounding_box_train", *(f"{p:04d}_c{c}s1_{p * 7 + i:06d}_00.jpg" for p in range(2, 32, 3)
                                               for c in (1, 2) for i in range(p % 4 + 3)))  # fmt: skip
    return market.read(tmp_path / "data").train


@pytest.mark.parametrize("split", ["id:0.25", "im:0.25"])
def test_a_split_is_made_from_the_seed_once_and_never_overwritten(tmp_path, train, split, caplog):
    with caplog.at_level("INFO"):
        first = splits.apply(train, split, tmp_path, seed=3)
    place = tmp_path / splits.parse(split).place
    assert f"made {place} with seed 3" in caplog.text
    before = place.read_bytes()
    again = splits.apply(train, split, tmp_path, seed=4)
    assert place.read_bytes() == before and again.paths.tolist() == first.paths.tolist()
    assert splits.apply(train, split, tmp_path / "else", seed=4).paths.tolist() != first.paths.tolist()
    if split.startswith("id"):
        assert first.num_ids == int(10 * 0.25) and len(first) == np.isin(train.pid, first.pid).sum()
    else:
        counts = [max(1, round(n * 0.25)) for n in np.bincount(train.labels())]
        assert np.bincount(first.labels()).tolist() == counts
        assert len(splits.apply(train, split, tmp_path, repeat=3)) == 3 * len(first)


def test_published_lists_are_read_with_their_line_ends(tmp_path, train):
    (tmp_path / "few_ims").mkdir()
    name = Path(str(train.paths[5])).name
    path = tmp_path / "few_ims/used_ims_0.10.txt"
    path.write_bytes(f"{name}; {train.labels()[5]}; 0 \r\n\r\n".encode())
    assert splits.apply(train, "im:0.10", tmp_path).paths.tolist() == [train.paths[5]]
    for text, words in (
        ("9999_c1.jpg; 0; 0", "line 1 names 9999_c1.jpg, which is not in the training data"),
        (f"{name}; 77; 0", f"line 1 gives {name} the label 77"),
        ("nothing", "expected 'name; label; camera'"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            splits.apply(train, "im:0.10", tmp_path)
    (tmp_path / "few_ids").mkdir()
    (tmp_path / "few_ids/used_ids_0.50.txt").write_text("2 \r\n4444\r\n")
    with pytest.raises(UserError, match="line 2 names the person 4444"):
        splits.apply(train, "id:0.50", tmp_path)


@pytest.mark.parametrize("text", ["id", "id:0", "im:2", "px:0.1", "id:ten"])
def test_a_split_that_means_nothing_is_refused(text):
    with pytest.raises(UserError, match="is not id:SHARE or im:SHARE"):
        splits.parse(text)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the small real data is not in {SHARED}")
def test_the_papers_lists_count_what_the_paper_keeps():
    folder = SHARED / "splits/market1501"
    ids = [len(splits._lines(folder / f"few_ids/used_ids_{share:.2f}.txt")) for share in (0.1, 0.2, 0.5, 1.0)]
    assert ids == [int(751 * share) for share in (0.1, 0.2, 0.5, 1.0)]
    data = market.read(SHARED / "reid_mini")
    assert [len(data.train), len(data.query), len(data.gallery)] == [592, 74, 518] and data.train.num_ids == 37
