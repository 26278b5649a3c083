import configparser
import json
import logging

import cv2
import make_crowd as make_crowd_command
import numpy as np
import pytest
import torch

from mot_occlusion.data.crowdhuman import read_crowdhuman
from mot_occlusion.data.datamodule import EpochSampler, FramePairs, TrackingDataModule
from mot_occlusion.data.mot import read_videos
from mot_occlusion.data.synthetic_crowd import _Scene, render_crowd, write_crowd
from mot_occlusion.data.transforms import Affine, AffineRanges, relight, warp_boxes, warp_image
from mot_occlusion.io.mot_format import read_gt, read_seqinfo
from mot_occlusion.lightning_module import TrackingModule
from shared_utils import UserError

SIZE = (64, 96)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Three short sequences on disk."""
    root = tmp_path_factory.mktemp("crowd")
    write_crowd(root / "train", 3, 12, seed=5, size=SIZE, num_people=(4, 6))
    return root


def _pairs(root, **options):
    return FramePairs(read_videos(root), SIZE, seed=0, max_objects=16, **{"affine": AffineRanges(), **options})


# The procedural crowd -------------------------------------------------------------------------------------------------


def test_crowd_follows_from_its_seed():
    first, again, other = (list(render_crowd(seed, 3)) for seed in (3, 3, 4))
    assert all((a.image == b.image).all() and (a.boxes == b.boxes).all() for a, b in zip(first, again, strict=True))
    assert (first[0].image != other[0].image).any()


def test_crowd_is_hard_enough():
    """Ten to twenty-five people, many of whom are hidden for a while."""
    frames = list(render_crowd(1, 60))
    assert all(8 <= len(frame.ids) <= 30 for frame in frames)
    visibility = np.concatenate([frame.visibility for frame in frames])
    assert visibility.min() >= 0 and visibility.max() <= 1
    assert 0.03 < (visibility < 0.2).mean() < 0.3 and (visibility > 0.9).mean() > 0.3


def test_people_come_and_go_and_stop_and_turn():
    scene = _Scene(np.random.default_rng(0), (192, 320), (10, 25))
    first = {walker.number: walker.heading for walker in scene.walkers}
    stopped, turned = set(), set()
    for _ in range(150):
        scene.step()
        stopped |= {walker.number for walker in scene.walkers if walker.stopped}
        turned |= {w.number for w in scene.walkers if abs(w.heading - first.get(w.number, w.heading)) > 1}
    last = {walker.number for walker in scene.walkers}
    assert stopped and turned and last - first.keys() and first.keys() - last


def test_visibility_is_what_is_left_of_a_person_in_the_picture():
    """Without anybody else in front, a person in the open is seen whole; behind a wall of others, not."""
    frame = next(iter(render_crowd(2, 1)))
    feet = frame.boxes[:, 1] + frame.boxes[:, 3]
    corners = np.concatenate((frame.boxes[:, :2], frame.boxes[:, :2] + frame.boxes[:, 2:]), 1)
    for row in range(len(feet)):
        low, high = np.maximum(corners[row, :2], corners[:, :2]), np.minimum(corners[row, 2:], corners[:, 2:])
        nearer = (np.prod(np.maximum(high - low, 0), 1) > 0) & (feet > feet[row])
        inside = (corners[row, :2] >= 1).all() and corners[row, 2] < 320 and corners[row, 3] < 192
        if not nearer.any() and inside and frame.visibility[row] < 0.99:
            # Only a standing obstacle may hide somebody whom no person hides.
            assert frame.visibility[row] < 1


def test_boxes_fit_the_people_to_a_pixel():
    """Somebody alone, drawn twice, with and without: what changed is inside the box and touches all its sides."""
    rng = np.random.default_rng(0)
    scene = _Scene(rng, (192, 320), (1, 1))
    scene.obstacles, scene.walkers = [], scene.walkers[:1]
    walker = scene.walkers[0]
    walker.x, walker.y, walker.leader = 160.0, 150.0, None
    scene.rng = np.random.default_rng(1)
    with_person = scene.render(0)
    scene.walkers, scene.rng = [], np.random.default_rng(1)
    without = scene.render(0)
    changed = np.abs(with_person.image.astype(int) - without.image).max(2) > 40
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    x, y, w, h = with_person.boxes[0] - [1, 1, 0, 0]
    assert np.abs([columns[0] - x, rows[0] - y, columns[-1] + 1 - x - w]).max() <= 3
    assert rows[-1] + 1 <= y + 1.1 * h  # the shadow lies at the feet


def test_crowd_on_disk_has_the_layout_of_mot17(crowd):
    info = read_seqinfo(crowd / "train" / "CROWD-01")
    assert (info.length, info.width, info.height, info.frame_rate) == (12, 96, 64, 25)
    rows = read_gt(crowd / "train" / "CROWD-01" / "gt" / "gt.txt")
    assert rows.frames.max() == 12 and (rows.classes == 1).all() and rows.visibility.min() < 1
    assert len(list((crowd / "train" / "CROWD-01" / "img1").glob("*.jpg"))) == 12


def test_make_crowd_is_interrupted_without_half_a_sequence(scratch, monkeypatch):
    import mot_occlusion.data.synthetic_crowd as module

    real = module.render_crowd

    def dies(seed, *arguments):
        for number, frame in enumerate(real(seed, *arguments)):
            if seed % 1000 == 1 and number == 1:
                raise KeyboardInterrupt
            yield frame

    arguments = [
        "--out",
        "c",
        "--sequences",
        "2",
        "--frames",
        "3",
        "--width",
        "96",
        "--height",
        "64",
        "--people",
        "[2,3]",
    ]
    monkeypatch.setattr(module, "render_crowd", dies)
    assert make_crowd_command.main(arguments) == 130
    assert (scratch / "c" / "CROWD-01" / "seqinfo.ini").is_file() and not (scratch / "c" / "CROWD-02").exists()
    monkeypatch.undo()
    monkeypatch.chdir(scratch)
    assert make_crowd_command.main(arguments) == 0 and len(read_videos(scratch / "c")) == 2


@pytest.mark.parametrize("arguments", ["--frames 0", "--width 100", "--people [5,2]"])
def test_make_crowd_refuses_what_cannot_be_drawn(scratch, capsys, arguments):
    assert make_crowd_command.main(["--out", "c", *arguments.split()]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list((scratch).glob("c/*"))


# Layouts --------------------------------------------------------------------------------------------------------------


def _sequence(root, name, gt, frames=4, newline="\n"):
    folder = root / name
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for number in range(1, frames + 1):
        cv2.imwrite(str(folder / "img1" / f"{number:06d}.jpg"), np.full((64, 96, 3), 90, np.uint8))
    (folder / "gt" / "gt.txt").write_text(newline.join(gt))
    keys = {"name": name, "imDir": "img1", "frameRate": 30, "seqLength": frames}
    parser = configparser.ConfigParser()
    parser.optionxform = str
    parser["Sequence"] = {k: str(v) for k, v in {**keys, "imWidth": 96, "imHeight": 64, "imExt": ".jpg"}.items()}
    with (folder / "seqinfo.ini").open("w") as file:
        parser.write(file)


MOT17_GT = ["1,1,10,10,20,40,1,1,1.0", "1,2,30,10,20,40,0,1,1.0", "2,1,12,10,20,40,1,7,1.0", "3,1,14,10,20,40,1,1,0.3"]
MOT15_GT = ["1,1,10,10,20,40,1,-1,-1,-1", "2,1,12,10,20,40,0,-1,-1,-1", "3,1,14,10,20,40,1,3.2,1.1,0"]


@pytest.mark.parametrize("level", ["train", "images/train"])
def test_mot17_is_read_once_of_its_three_copies(tmp_path, level):
    for detector in ("DPM", "FRCNN", "SDP"):
        _sequence(tmp_path / level, f"MOT17-02-{detector}", MOT17_GT, newline="\r\n")
    (video,) = read_videos(tmp_path)
    assert video.name == "MOT17-02-SDP" and [len(boxes) for boxes in video.boxes] == [1, 0, 1, 0]
    assert video.boxes[2][0].tolist() == [14, 10, 20, 40] and video.visibility[2][0] == pytest.approx(0.3)


def test_mot15_has_no_class(tmp_path):
    _sequence(tmp_path / "train", "TUD-Campus", MOT15_GT)
    assert [len(boxes) for boxes in read_videos(tmp_path)[0].boxes] == [1, 0, 1, 0]


def test_halves_are_those_of_the_published_split(tmp_path):
    _sequence(tmp_path / "train", "MOT17-02-SDP", MOT17_GT, frames=5)
    first, second = (read_videos(tmp_path, part=part)[0] for part in ("first-half", "second-half"))
    assert [path.stem for path in first.images] == ["000001", "000002"]
    assert [path.stem for path in second.images] == ["000003", "000004", "000005"]


def test_real_mot17_ground_truth_is_read(real_data, tmp_path):
    """Its halves hold the published number of frames; there are no images here, so empty files stand for them."""
    source = real_data / "MOT17" / "train" / "MOT17-09-FRCNN"
    folder = tmp_path / "train" / source.name
    (folder / "img1").mkdir(parents=True)
    (folder / "gt").mkdir()
    for name in ("gt/gt.txt", "seqinfo.ini"):
        (folder / name).write_bytes((source / name).read_bytes())
    for number in range(1, 526):
        (folder / "img1" / f"{number:06d}.jpg").touch()
    whole, first = read_videos(tmp_path)[0], read_videos(tmp_path, part="first-half")[0]
    assert len(whole) == 525 and len(first) == 262 and sum(map(len, whole.boxes)) == 5325


def _crowdhuman(root, lines, images=("a", "b")):
    (root / "images" / "train").mkdir(parents=True)
    for name in images:
        cv2.imwrite(str(root / "images" / "train" / f"{name}.jpg"), np.full((64, 96, 3), 90, np.uint8))
    (root / "annotation_train.odgt").write_text("\n".join(lines))


def _person(fbox, **extra):
    return {"tag": "person", "fbox": fbox, "vbox": [fbox[0], fbox[1], fbox[2], fbox[3] / 2], "extra": extra}


def test_crowdhuman_keeps_whole_boxes_of_people_who_count(tmp_path):
    boxes = [_person([-5, 3, 20, 40]), _person([30, 3, 20, 40], ignore=1), {"tag": "mask", "fbox": [0, 0, 5, 5]}]
    _crowdhuman(tmp_path, [json.dumps({"ID": "a", "gtboxes": boxes}), json.dumps({"ID": "b", "gtboxes": []})])
    first, second = read_crowdhuman(tmp_path)
    assert (
        first.boxes[0].tolist() == [[-5, 3, 20, 40]]
        and first.visibility[0].tolist() == [0.5]
        and len(second.boxes[0]) == 0
    )
    pair = FramePairs([first, second], SIZE, seed=0, affine=AffineRanges())[(0, 0)]
    assert not torch.equal(pair["image"], pair["image_previous"])  # one image, augmented twice


def test_crowdhuman_names_the_line_it_cannot_read(tmp_path):
    _crowdhuman(tmp_path, [json.dumps({"ID": "a", "gtboxes": []}), '{"ID": "b"}'])
    with pytest.raises(UserError, match=r"annotation_train.odgt, line 2"):
        read_crowdhuman(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "train" / "A" / "seqinfo.ini").unlink(), r"A/seqinfo.ini not found"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").unlink(), r"A/gt/gt.txt not found"),
        (lambda root: [path.unlink() for path in (root / "train" / "A" / "img1").iterdir()], r"A/img1 holds no image"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").write_text("1,1,3,4,5\n"), r"gt.txt, line 1: 5 columns"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").write_text("1,1,3,nan,5,5,1,1,1\n"), r"gt.txt, line 1"),
        (lambda root: (root / "train" / "A" / "gt" / "gt.txt").write_text("1,1,3,4,-5,5,1,1,1\n"), r"gt.txt, line 1"),
    ],
)
def test_a_layout_that_is_wrong_is_named(tmp_path, spoil, message):
    _sequence(tmp_path / "train", "A", MOT17_GT)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        read_videos(tmp_path)


def test_a_root_without_sequences_says_what_was_expected(tmp_path):
    with pytest.raises(UserError, match="expected"):
        read_videos(tmp_path)


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_training_never_reads_an_identity(crowd, tmp_path):
    """With the id column emptied and the lines of every frame shuffled the loss is the same."""
    import shutil

    shutil.copytree(crowd / "train", tmp_path / "train")
    rng = np.random.default_rng(0)
    for path in tmp_path.glob("train/*/gt/gt.txt"):
        fields = [line.split(",") for line in path.read_text().splitlines()]
        rng.shuffle(fields)
        path.write_text("".join(",".join([f[0], "", *f[2:]]) + "\n" for f in fields))
    with pytest.raises(UserError):
        read_gt(path)  # whoever wants identities does not find any

    losses = []
    for root in (crowd, tmp_path):
        torch.manual_seed(0)
        module = TrackingModule("small", 16, SIZE)
        module.log = lambda *arguments, **options: None
        pairs = _pairs(root, negative_fraction=0.3)
        batch = torch.utils.data.default_collate([pairs[(0, index)] for index in range(6)])
        losses.append(module.training_step(batch, 0).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_pairs_are_negative_as_often_as_asked_for(crowd):
    pairs = _pairs(crowd, negative_fraction=0.2, affine=None)
    found = [pairs[(epoch, index)]["negative"] for epoch in range(12) for index in range(len(pairs))]
    assert np.mean(found) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / len(found)))
    assert not any(_pairs(crowd, affine=None)[(0, index)]["negative"] for index in range(len(pairs)))


def test_pairs_of_one_video_lie_at_most_max_gap_apart(crowd, monkeypatch):
    import mot_occlusion.data.datamodule as module

    seen, real = [], module.read_image
    monkeypatch.setattr(module, "read_image", lambda path: seen.append(path) or real(path))
    pairs = _pairs(crowd, max_gap=2, negative_fraction=0.0)
    for index in range(len(pairs)):
        _ = pairs[(0, index)]
    gaps = [abs(int(a.stem) - int(b.stem)) for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert {0, 1, 2} == set(gaps) and all(a.parent == b.parent for a, b in zip(seen[::2], seen[1::2], strict=True))


def test_a_pair_follows_from_seed_epoch_and_index(crowd):
    pairs = _pairs(crowd)
    assert torch.equal(pairs[(2, 5)]["image"], pairs[(2, 5)]["image"])
    assert not torch.equal(pairs[(2, 5)]["image"], pairs[(3, 5)]["image"])


def test_order_of_an_epoch_follows_from_seed_and_epoch(crowd):
    pairs = _pairs(crowd)

    def order(rank, epoch):
        sampler = EpochSampler(pairs, 2, rank, shuffle=True, seed=1)
        sampler.set_epoch(epoch)
        return [index for _, index in sampler]

    assert order(0, 1) == order(0, 1) != order(0, 2) and sorted(order(0, 1) + order(1, 1)) == list(range(len(pairs)))


def test_a_frame_that_cannot_be_read_is_named_and_another_one_taken(crowd, tmp_path, caplog):
    import shutil

    shutil.copytree(crowd / "train", tmp_path / "train")
    broken = tmp_path / "train" / "CROWD-01" / "img1" / "000001.jpg"
    broken.write_bytes(b"not an image")
    with caplog.at_level(logging.WARNING):
        pair = _pairs(tmp_path)[(0, 0)]
    assert "000001.jpg" in caplog.text and pair["image"].shape == (3, *SIZE)


def test_two_people_in_one_cell_are_compared_once(crowd):
    video = read_videos(crowd)[0]
    twice = [np.concatenate((boxes, boxes)) for boxes in video.boxes]
    video = type(video)(video.name, video.images, twice, [np.ones(len(boxes), np.float32) for boxes in twice])
    targets = FramePairs([video], SIZE, seed=0, max_objects=32)[(0, 0)]["targets"]
    assert targets["reg_mask"].sum() == 2 * targets["reid_mask"].sum() > 0


def test_flip_turns_image_and_boxes_together(crowd):
    video = read_videos(crowd)[:1]
    plain, turned = (
        FramePairs(video, SIZE, seed=0, colour=0.0, flip=flip, max_objects=16)[(0, 0)] for flip in (0.0, 1.0)
    )
    assert torch.equal(plain["image"].flip(2), turned["image"])
    mirrored = plain["targets"]["hm"][0, :, ::-1]
    # Centres lie inside their cells, so a mirrored peak is in the mirrored cell or its neighbour.
    peaks, others = np.argwhere(mirrored == 1), np.argwhere(turned["targets"]["hm"][0] == 1)
    assert len(peaks) == len(others) and all(np.abs(others - peak).sum(1).min() <= 1 for peak in peaks)


# Transforms -----------------------------------------------------------------------------------------------------------


def test_boxes_follow_the_image_under_an_affine():
    image = np.zeros((100, 160, 3), np.uint8)
    image[30:60, 50:80] = 255
    affine = Affine(angle=3.0, scale=1.1, translate_x=9.0, translate_y=-4.0, shear_y=0.02, shear_x=-0.01)
    matrix = affine.matrix((100, 160))
    warped = warp_image(image, matrix, border=0)
    boxes, rows = warp_boxes(np.array([[50.0, 30.0, 80.0, 60.0]]), matrix, affine.angle)
    bright = np.argwhere(warped[..., 0] > 127)
    assert rows.tolist() == [0] and np.abs(boxes[0] - [*bright.min(0)[::-1], *(bright.max(0)[::-1] + 1)]).max() < 1.5


def test_boxes_that_become_too_small_are_dropped():
    boxes, rows = warp_boxes(np.array([[0.0, 0, 7, 30], [0, 0, 30, 30]]), Affine(scale=0.5).matrix((100, 100)), 0.0)
    assert rows.tolist() == [1] and boxes.shape == (1, 4)


def test_the_second_frame_is_perturbed_by_a_fraction_of_the_ranges_either_way():
    ranges, rng = AffineRanges(), np.random.default_rng(0)
    base = ranges.draw(rng, (192, 320))
    moved = [ranges.perturb(base, rng, (192, 320)) for _ in range(300)]
    angles = np.array([affine.angle - base.angle for affine in moved])
    scales = np.array([affine.scale / base.scale for affine in moved])
    assert np.abs(angles).max() <= 0.19 * 5 and angles.min() < -0.3 and angles.max() > 0.3
    assert scales.min() > 1 - 0.19 * 0.35 - 1e-9 and scales.max() < 1 + 0.19 * 0.35 + 1e-9 and scales.min() < 0.99


def test_new_light_changes_colours_and_nothing_else():
    image = np.random.default_rng(0).integers(40, 200, (20, 30, 3), dtype=np.uint8)
    lit = relight(image, np.random.default_rng(1))
    assert lit.shape == image.shape and np.abs(lit.astype(int) - image).mean() > 5
    assert np.corrcoef(lit[..., 0].ravel(), image[..., 0].ravel())[0, 1] > 0.8


# The datamodule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_size": (100, 96)}, "multiples of 32"),
        ({"negative_fraction": 1.0}, "negative_fraction"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(UserError, match=message):
        TrackingDataModule(**options)


def test_half_split_of_a_root_trains_and_validates_on_different_frames(crowd):
    module = TrackingDataModule(str(crowd), input_size=SIZE, batch_size=2, max_objects=16)
    training = {path for video in module.training_pairs.videos for path in video.images}
    validation = {path for video in module.val_dataloader().dataset.videos for path in video.images}
    assert len(training) == len(validation) == 18 and not training & validation
    assert all(video.ids is None for video in module.training_pairs.videos)
