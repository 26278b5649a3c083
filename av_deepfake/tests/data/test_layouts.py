"""Sets as they lie on disk, read into tables of videos."""

import json

import pytest

from av_deepfake.data.layouts import open_set
from av_deepfake.data.layouts.finding import identity_pairs
from av_deepfake.data.layouts.talking import talking
from shared_utils import UserError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def counted(found):
    return {method: sum(video.method == method for video in found.videos) for method in ("real", *found.methods)}


def test_the_official_split_has_its_720_140_and_140_real_videos():
    pairs = {split: identity_pairs(split) for split in ("train", "val", "test")}
    assert {split: 2 * len(each) for split, each in pairs.items()} == {"train": 720, "val": 140, "test": 140}
    ids = [i for each in pairs.values() for pair in each for i in pair]
    assert len(set(ids)) == 1000


def test_the_official_tree_gives_both_ids_as_real_and_both_orders_as_fake(tmp_path):
    a, b = identity_pairs("test")[0]
    touch(tmp_path, *(f"original_sequences/youtube/c23/videos/{i}.mp4" for i in (a, b)))
    touch(
        tmp_path,
        f"manipulated_sequences/Deepfakes/c23/videos/{a}_{b}.mp4",
        f"manipulated_sequences/FaceSwap/c23/videos/{b}_{a}.mp4",
    )
    touch(tmp_path, f"manipulated_sequences/DeeperForensics/c23/videos/{a}_M101.mp4")
    found = open_set(tmp_path)
    assert counted(found) == {"real": 2, "Deepfakes": 1, "FaceSwap": 1, "DeeperForensics": 1}
    assert f"Deepfakes/{b}_{a}" in found.missing
    assert {video.key for video in found.only(["FaceSwap"]).videos} == {
        ("real", a),
        ("real", b),
        ("FaceSwap", f"{b}_{a}"),
    }


def test_the_tree_of_lipforensics_is_folders_of_crops(tmp_path):
    a, b = identity_pairs("val")[0]
    touch(
        tmp_path,
        f"Forensics/RealFF/c23/cropped_mouths/{a}/0000.png",
        f"Forensics/Face2Face/c23/cropped_mouths/{a}_{b}/0000.png",
    )
    found = open_set(tmp_path, split="val")
    assert counted(found) == {"real": 1, "Face2Face": 1} and all(video.is_folder for video in found.videos)
    with pytest.raises(UserError, match="RealFF/c40"):
        open_set(tmp_path, split="val", compression="c40")


def test_one_in_the_list_of_celeb_df_means_real(tmp_path):
    touch(tmp_path, "YouTube-real/00170.mp4", "Celeb-synthesis/id0_id1_0000.mp4")
    lines = ["1 YouTube-real/00170.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4", "1 Celeb-real/gone.mp4"]
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines))
    found = open_set(tmp_path)
    assert counted(found) == {"real": 1, "CelebDF": 1} and found.missing == ["Celeb-real/gone.mp4"]


def test_dfdc_is_the_listed_videos_with_the_labels_of_its_metadata(tmp_path):
    touch(tmp_path, "aalscayrfi.mp4", "aaoqanfmgd.mp4", "unlisted00.mp4")
    facts = {"aalscayrfi.mp4": {"is_fake": 0}, "aaoqanfmgd.mp4": {"is_fake": 1}, "unlisted00.mp4": {"label": "FAKE"}}
    (tmp_path / "metadata.json").write_text(json.dumps(facts))
    assert counted(open_set(tmp_path)) == {"real": 1, "DFDC": 1}
    assert counted(open_set(tmp_path, "dfdc_all")) == {"real": 1, "DFDC": 2}


def test_the_kinds_of_fakeavceleb_are_methods(tmp_path):
    touch(tmp_path, "RealVideo-FakeAudio/African/men/id1/a.mp4", "FakeVideo-RealAudio/African/men/id1/a.mp4")
    assert counted(open_set(tmp_path)) == {"real": 1, "FakeVideo-RealAudio": 1}


def test_a_list_names_paths_labels_methods_and_videos(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "b.wav")
    (tmp_path / "list.csv").write_text(
        "path,label,method,video_id,audio\na.mp4,real,,one,\nb.mp4,1,Swap,one,b.wav\ngone.mp4,0,,,\n"
    )
    found = open_set(tmp_path / "list.csv")
    assert [video.key for video in found.videos] == [("real", "one"), ("Swap", "one")] and found.missing == ["gone.mp4"]
    assert found.videos[1].audio == tmp_path / "b.wav"
    rows = [{"path": "a.mp4", "label": 0}, {"path": "b.mp4", "label": 1}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert counted(open_set(tmp_path / "list.json")) == {"real": 1, "fake": 1}


def test_a_list_of_realforensics_has_a_path_and_a_label_a_line(tmp_path):
    touch(tmp_path, "real/a.mp4", "Deepfakes/b c.mp4")
    (tmp_path / "list.csv").write_text("real/a.mp4 0\nDeepfakes/b c.mp4 1\n")
    assert counted(open_set(tmp_path / "list.csv")) == {"real": 1, "Deepfakes": 1}


def test_single_frames_of_deepfakebench_are_taken_with_a_warning(tmp_path, caplog):
    touch(tmp_path, "real/000/001.png", "DF/000_003/001.png")
    entry = lambda path: {"test": {"c23": {path.split("/")[1]: {"label": "x", "frames": [f"{path}/001.png"]}}}}  # noqa: E731
    (tmp_path / "ff.json").write_text(json.dumps({"FF": {"FF-real": entry("real/000"), "FF-DF": entry("DF/000_003")}}))
    found = open_set(tmp_path / "ff.json")
    assert counted(found) == {"real": 1, "FF-DF": 1} and "no mouth motion" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,label\na.mp4,2\n", "row 2: label '2' is neither"),
        ("path,label\n,1\n", "row 2: path and label are needed"),
        ("file,label\na.mp4,1\n", "must name the columns"),
        ("path,label\na.mp4,1\n", "no real video"),
        ("path,label,video_id\na.mp4,1,x\na.mp4,1,x\n", "twice"),
    ],
)
def test_a_mistake_in_a_list_is_named(content, message, tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        open_set(tmp_path / "list.csv")


def test_what_is_no_set_is_refused_with_the_layouts_that_are_known(tmp_path):
    with pytest.raises(UserError, match="nowhere not found"):
        open_set(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no known layout.*lipforensics"):
        open_set(tmp_path)


@pytest.mark.parametrize(
    ("names", "kept", "sound"),
    [
        (["lipread_mp4/ABOUT/train/ABOUT_00001.mp4", "lipread_mp4/ABOUT/val/ABOUT_00001.mp4"], [0], None),
        (["dev/mp4/id1/x/00001.mp4", "dev/mp4/id1/x/00002.mp4", "dev/aac/id1/x/00001.m4a"], [0, 1], 2),
        (["main/1/1.mp4", "pretrain/2/1.mp4"], [0, 1], None),
        (["own/a.mp4", "b.avi", "note.txt"], [1, 0], None),
    ],
)
def test_talking_videos_are_found_in_the_trees_of_their_sets(names, kept, sound, tmp_path):
    touch(tmp_path, *names)
    videos, sounds = talking(tmp_path)
    assert videos == {names[number]: tmp_path / names[number] for number in kept}
    assert sounds == ({} if sound is None else {names[0]: tmp_path / names[sound]})


def test_a_tree_without_talking_videos_is_named(tmp_path):
    touch(tmp_path, "lipread_mp4/ABOUT/train/ABOUT_00001.mp4")
    assert len(talking(tmp_path, limit=1)[0]) == 1
    with pytest.raises(UserError, match="LRW, split val, and no video"):
        talking(tmp_path, "val")
    with pytest.raises(UserError, match="--limit"):
        talking(tmp_path, limit=0)
