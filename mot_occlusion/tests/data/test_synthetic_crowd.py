import numpy as np
import pytest

from mot_occlusion.commands import make_crowd as make_crowd_command
from mot_occlusion.data.crowd_scene import Scene
from mot_occlusion.data.mot import read_videos
from mot_occlusion.data.mot_format import read_gt, read_seqinfo
from mot_occlusion.data.synthetic_crowd import render_crowd, write_crowd

SIZE = (64, 96)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Three short sequences on disk."""
    root = tmp_path_factory.mktemp("crowd")
    write_crowd(root / "train", 3, 12, seed=5, size=SIZE, num_people=(4, 6))
    return root


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
    scene = Scene(np.random.default_rng(0), (192, 320), (10, 25))
    first = {walker.number: walker.heading for walker in scene.walkers}
    stopped, turned = set(), set()
    for _ in range(150):
        scene.step()
        stopped |= {walker.number for walker in scene.walkers if walker.stopped}
        turned |= {w.number for w in scene.walkers if abs(w.heading - first.get(w.number, w.heading)) > 1}
    last = {walker.number for walker in scene.walkers}
    assert stopped and turned and last - first.keys() and first.keys() - last


def test_visibility_is_what_is_left_of_a_person_in_the_picture():
    """With no other person in front, a person in the open is seen whole; behind a wall of others, not."""
    frame = next(iter(render_crowd(2, 1)))
    feet = frame.boxes[:, 1] + frame.boxes[:, 3]
    corners = np.concatenate((frame.boxes[:, :2], frame.boxes[:, :2] + frame.boxes[:, 2:]), 1)
    for row in range(len(feet)):
        low, high = np.maximum(corners[row, :2], corners[:, :2]), np.minimum(corners[row, 2:], corners[:, 2:])
        nearer = (np.prod(np.maximum(high - low, 0), 1) > 0) & (feet > feet[row])
        inside = (corners[row, :2] >= 0).all() and corners[row, 2] <= 320 and corners[row, 3] <= 192
        if not nearer.any() and inside and frame.visibility[row] < 0.99:
            # Only a standing obstacle may hide a person whom no person hides.
            assert frame.visibility[row] < 1


def test_boxes_fit_the_people_to_a_pixel():
    """A person alone, drawn twice, with and without: what changed is inside the box and touches all its sides."""
    rng = np.random.default_rng(0)
    scene = Scene(rng, (192, 320), (1, 1))
    scene.obstacles, scene.walkers = [], scene.walkers[:1]
    walker = scene.walkers[0]
    walker.x, walker.y, walker.leader = 160.0, 150.0, None
    scene.rng = np.random.default_rng(1)
    with_person = scene.render(0)
    scene.walkers, scene.rng = [], np.random.default_rng(1)
    without = scene.render(0)
    changed = np.abs(with_person.image.astype(int) - without.image).max(2) > 40
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    x, y, w, h = with_person.boxes[0]
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
    assert make_crowd_command.main(arguments) == 2
    assert make_crowd_command.main([*arguments, "--resume", "--seed", "9"]) == 2
    assert make_crowd_command.main([*arguments, "--resume"]) == 0 and len(read_videos(scratch / "c")) == 2


def test_a_crowd_of_another_seed_replaces_what_is_there(scratch):
    arguments = ["c", "--sequences", "1", "--frames", "2", "--width", "96", "--height", "64", "--people", "[2,3]"]
    assert make_crowd_command.main(["--out", *arguments]) == 0
    before = (scratch / "c" / "CROWD-01" / "gt" / "gt.txt").read_text()
    assert make_crowd_command.main([*arguments, "--seed", "9", "--overwrite"]) == 0
    assert (scratch / "c" / "CROWD-01" / "gt" / "gt.txt").read_text() != before


def test_two_that_draw_the_same_crowd_do_not_mix_their_files(scratch, monkeypatch):
    """As two trainings that start at the same moment do: whoever is later finds the sequence of the other."""
    import mot_occlusion.data.synthetic_crowd as module

    real, inside = module.render_crowd, []

    def meanwhile(*arguments):
        for number, frame in enumerate(real(*arguments)):
            if number == 1 and not inside:
                inside.append(True)
                with monkeypatch.context() as other:
                    other.setattr(module.os, "getpid", lambda: 1)
                    write_crowd(scratch / "c", 1, 3, 0, SIZE, (2, 3))
            yield frame

    monkeypatch.setattr(module, "render_crowd", meanwhile)
    (folder,) = write_crowd(scratch / "c", 1, 3, 0, SIZE, (2, 3))
    assert len(list((folder / "img1").iterdir())) == 3 and [path.name for path in (scratch / "c").iterdir()] == [
        "CROWD-01"
    ]


@pytest.mark.parametrize("arguments", ["--frames 0", "--width 100", "--people [5,2]"])
def test_make_crowd_refuses_what_cannot_be_drawn(scratch, capsys, arguments):
    assert make_crowd_command.main(["--out", "c", *arguments.split()]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (scratch / "c").exists()
