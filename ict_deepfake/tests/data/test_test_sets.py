"""Test sets in the layouts that people have: what is read, what is missing, what is refused."""

import json
from pathlib import Path

import pytest

from ict_deepfake.data.test_sets import RootMap, open_test_set
from ict_deepfake.data.test_sets.lists import video_of
from shared_utils import UserError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def by_video(found):
    return {clip.video: clip for clip in found.clips}


def face_forensics(root):
    touch(root, *(f"original_sequences/youtube/c23/videos/{name}.mp4" for name in ("000", "003", "500")))
    for method in ("Deepfakes", "FaceSwap", "Face2Face"):
        touch(root, *(f"manipulated_sequences/{method}/c23/videos/{name}.mp4" for name in ("000_003", "500_501")))
    return touch(root, "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")


def test_methods_of_one_pair_stay_different_videos(tmp_path):
    found = open_test_set(face_forensics(tmp_path))
    assert found.counts["real"] == 3 and found.counts["Face2Face"] == 2
    assert {"Deepfakes/000_003", "FaceSwap/000_003", "Face2Face/000_003"} <= set(by_video(found))


def test_the_official_split_leaves_its_pairs_in_both_orders(tmp_path):
    root = face_forensics(tmp_path)
    (root / "splits").mkdir()
    written(root / "splits/test.json", [["003", "000"]])
    videos = by_video(open_test_set(root, masks=True))
    assert set(videos) == {"original/youtube/000", "original/youtube/003"} | {
        f"{method}/000_003" for method in ("Deepfakes", "FaceSwap", "Face2Face")
    }
    assert videos["Deepfakes/000_003"].mask is not None and videos["FaceSwap/000_003"].mask is None


def test_another_compression_is_named(tmp_path):
    with pytest.raises(UserError, match=r"c40.*c23"):
        open_test_set(face_forensics(tmp_path), compression="c40")


def test_one_in_the_list_of_celeb_df_is_real(tmp_path):
    touch(tmp_path, "YouTube-real/1.mp4", "Celeb-synthesis/id0_id1_1.mp4")
    written(
        tmp_path / "List_of_testing_videos.txt",
        "1 YouTube-real/1.mp4\n0 Celeb-synthesis/id0_id1_1.mp4\n1 Celeb-real/2.mp4\n",
    )
    found = open_test_set(tmp_path)
    assert {clip.video: clip.label for clip in found.clips} == {"YouTube-real/1": 0, "Celeb-synthesis/id0_id1_1": 1}
    assert found.missing == ["Celeb-real/2.mp4"]


def test_deeper_forensics(tmp_path):
    touch(tmp_path, "source_videos/a/1.mp4", "manipulated_videos/end_to_end/1.mp4", "manipulated_videos/level_1/1.mp4")
    videos = by_video(open_test_set(tmp_path))
    assert {name: clip.label for name, clip in videos.items()} == {"real/a/1": 0, "end_to_end/1": 1, "level_1/1": 1}


@pytest.mark.parametrize("listing", ["metadata.json", "labels.csv"])
def test_dfdc(listing, tmp_path):
    touch(tmp_path, "part_0/a.mp4", "part_0/b.mp4")
    if listing == "metadata.json":
        content = {name: {"label": label} for name, label in (("a.mp4", "REAL"), ("b.mp4", "FAKE"), ("c.mp4", "FAKE"))}
        written(tmp_path / "part_0/metadata.json", content)
    else:
        written(tmp_path / "part_0/labels.csv", "filename,label\na.mp4,0\nb.mp4,1\nc.mp4,1\n")
    found = open_test_set(tmp_path)
    assert {clip.video: clip.label for clip in found.clips} == {"part_0/a": 0, "part_0/b": 1}
    assert found.missing == ["part_0/c.mp4"]


def bench(root, label="FF-DF", extra=()):
    frames = [f"D:\\data\\ff\\DF\\000_003\\{number}.png" for number in range(3)]
    real = {"label": "FF-real", "frames": ["D:/data/ff/real/000/0.png", *extra]}
    content = {
        "FF++": {
            "FF-real": {"test": {"c23": {"000": real}}},
            "FF-DF": {"test": {"c23": {"000_003": {"label": label, "frames": frames}}}},
            "FF-FS": {"test": {"c23": {"000_003": {"label": "FF-FS", "frames": frames[:1]}}}, "train": {}},
        }
    }
    touch(root / "here", *(f"DF/000_003/{number}.png" for number in range(2)), "real/000/0.png")
    return written(root / "FF++.json", content)


def test_a_list_of_deepfakebench_from_a_windows_machine(tmp_path):
    found = open_test_set(bench(tmp_path), root_map=[f"D:\\data\\ff={tmp_path}/here"])
    assert {clip.video: (clip.label, len(clip.frames)) for clip in found.clips} == {
        "FF-real/000": (0, 1),
        "FF-DF/000_003": (1, 2),
        "FF-FS/000_003": (1, 1),
    }
    assert found.missing == ["D:\\data\\ff\\DF\\000_003\\2.png"] and found.tight


def test_without_the_root_map_the_message_names_it(tmp_path):
    with pytest.raises(UserError, match=r"no real.*5 files are missing.*root_map"):
        open_test_set(bench(tmp_path))


def test_an_unknown_label_is_answered_with_the_nearest_known_ones(tmp_path):
    path, roots = bench(tmp_path, label="FF_DF"), [f"D:/data/ff={tmp_path}/here"]
    with pytest.raises(UserError, match=r"FF_DF \(near: FF-DF.*--labels"):
        open_test_set(path, root_map=roots)
    assert len(open_test_set(path, root_map=roots, labels={"FF_DF": 1}).clips) == 3


def test_a_split_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"split 'val'; it has test, train"):
        open_test_set(bench(tmp_path), split="val")


def test_published_lists(tmp_path):
    touch(tmp_path, "Real/000_15.png", "Real/000_30.png", "Real/001_15.png", "Fake/000_003_15.png")
    real = written(
        tmp_path / "paths_of_real.json", ["Real/000_30.png", "Real/000_15.png", "Real/001_15.png", "Real/9.png"]
    )
    fake = written(tmp_path / "paths_of_fake.json", ["Fake/000_003_15.png"])
    found = open_test_set(real=real, fake=fake)
    videos = by_video(found)
    assert [path.name for path in videos["real/Real/000"].frames] == ["000_15.png", "000_30.png"]
    assert set(videos) == {"real/Real/000", "real/Real/001", "fake/Fake/000_003"} and found.missing == ["Real/9.png"]


@pytest.mark.parametrize(
    ("name", "video"),
    [
        ("FF/Real/000_15.png", "FF/Real/000"),
        ("Fake/000_003.png", "Fake/000_003"),
        ("Fake/000_003/17.png", "Fake/000_003"),
        ("a\\b_frame_12.jpg", "a/b"),
        ("img.png", "img"),
    ],
)
def test_the_video_of_a_frame(name, video):
    assert video_of(name) == video


def test_a_list_of_entries(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    rows = [{"file": "a.jpg", "label": 0}, {"file": "b.jpg", "label": 1, "method": "tri", "mask": "hull"}]
    found = open_test_set(written(tmp_path / "pairs.json", rows))
    assert {clip.method: clip.label for clip in found.clips} == {"real": 0, "tri/hull": 1}


def test_the_shared_swaps_are_read():
    place = Path(__file__).parents[3].parent / "shared/data/ict_deepfake/real_swaps/pairs.json"
    if not place.is_file():
        pytest.skip("the shared pictures are not there")
    found = open_test_set(place)
    assert not found.missing and found.counts["real"] >= 10 and any("eyes" in method for method in found.counts)


def test_paths_are_mapped_whole_folders_only():
    roots = RootMap(["/data/ff=/here", "D:/x=/there"])
    base = Path("/base")
    assert roots("/data/ff/a.png", base) == Path("/here/a.png")
    assert roots("/data/ffpp/a.png", base) == Path("/data/ffpp/a.png")
    assert roots("D:\\x\\b\\a.png", base) == Path("/there/b/a.png")
    assert roots("c\\a.png", base) == Path("/base/c/a.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no test set"),
        ({"data": "nowhere"}, "nowhere not found"),
        ({"real": "a.json"}, "give both"),
        ({"data": ".", "kind": "published"}, "--real and --fake"),
        ({"data": ".", "kind": "deepfakebench"}, "is a JSON file"),
        ({"data": "."}, "no known layout"),
        ({"data": ".", "root_map": ["a"]}, "OLD=NEW"),
        ({"data": ".", "kind": "celeb_df"}, "List_of_testing_videos.txt not found"),
        ({"data": ".", "kind": "faceforensics"}, "original_sequences not found"),
        ({"data": ".", "kind": "deeperforensics"}, "source_videos not found"),
        ({"data": ".", "kind": "dfdc"}, "no metadata.json"),
    ],
)
def test_what_is_no_test_set_is_refused(arguments, message, scratch):
    with pytest.raises(UserError, match=message):
        open_test_set(**arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [([], "no real paths in"), ({"a": 1}, "list of paths"), (["gone.png"], "no real picture")],
)
def test_a_class_without_pictures_is_refused(content, message, tmp_path):
    real = written(tmp_path / "real.json", content)
    touch(tmp_path, "b.png")
    with pytest.raises(UserError, match=message):
        open_test_set(real=real, fake=written(tmp_path / "fake.json", ["b.png"]))
