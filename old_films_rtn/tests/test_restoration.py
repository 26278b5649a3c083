"""Restoring, from the file to the file."""

import csv
import json
from pathlib import Path

import cv2
import films
import numpy as np
import pytest
import torch

from old_films_rtn import pretrained
from old_films_rtn.commands import restore
from old_films_rtn.data.clips import degrade_clip
from old_films_rtn.data.degradation import Degradation, FilmWear
from old_films_rtn.data.drawn import DrawnTextures
from old_films_rtn.data.procedural import make_scene
from old_films_rtn.flow import DIS, clip_flows
from old_films_rtn.video.io import open_film
from shared_utils.testing import fill

REAL = Path(__file__).parents[3] / "shared" / "data" / "old_films_rtn"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return films.write_model(tmp_path_factory.mktemp("model") / "rtn.safetensors")


def run(*arguments):
    return restore.main([str(argument) for argument in arguments])


def pictures(path):
    return [frame.luma for frame in open_film(path).frames()]


def said(capsys, status, *parts):
    """The one line of an error, which names the parts."""
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if "error:" in line]
    assert status == 2 and len(lines) == 1, error
    for part in parts:
        assert part in lines[0], lines[0]


# What comes out ---------------------------------------------------------------------------------------------------


def test_a_network_is_named_by_its_file_or_by_the_folder_of_its_export(tmp_path, model):
    films.write_folder(tmp_path / "in", films.moving(3))
    pretrained.load(model).save_pretrained(tmp_path / "run")
    assert run(tmp_path / "in", "--out", tmp_path / "a", "--ckpt", model) == 0
    assert run(tmp_path / "in", "--out", tmp_path / "b", "--ckpt", tmp_path / "run") == 0
    assert all(np.array_equal(*pair) for pair in zip(pictures(tmp_path / "a"), pictures(tmp_path / "b"), strict=True))


def test_an_mp4_comes_back_restored_with_everything_else_as_it_was(tmp_path, model):
    stamps = [1000 * i + 400 * (i % 3) for i in range(14)]
    source = films.write_video(tmp_path / "a.mp4", films.moving(14), stamps=stamps, rotation=90)
    assert run(source, "--out", tmp_path / "b.mp4", "--ckpt", model, "--chunk", 5) == 0
    assert films.describe(source) == films.describe(tmp_path / "b.mp4")
    assert films.sound(source) == films.sound(tmp_path / "b.mp4")
    changed = np.abs(np.stack(pictures(source)).astype(int) - np.stack(pictures(tmp_path / "b.mp4"))).mean()
    assert changed > 0.5  # inside its defect map
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_masks_comparison_and_report_show_what_was_changed(tmp_path, model):
    source = films.write_video(tmp_path / "a.mkv", [*films.moving(8), *films.moving(6, 9)], "yuv420p", "ffv1")
    extra = {"--masks": "m.mkv", "--side-by-side": "s.mp4", "--report": "r.csv"}
    arguments = [part for name, file in extra.items() for part in (name, tmp_path / file)]
    assert run(source, "--out", tmp_path / "b.mkv", "--codec", "ffv1", "--ckpt", model, *arguments) == 0
    assert films.describe(tmp_path / "s.mp4")["size"] == (128, 48)
    assert len(pictures(tmp_path / "m.mkv")) == 14
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert [row["frame"] for row in rows] == [str(i) for i in range(14)]
    assert [row["shot"] for row in rows] == ["0"] * 8 + ["1"] * 6
    before, after = pictures(source), pictures(tmp_path / "b.mkv")
    change = np.abs(after[3].astype(float) - before[3]).mean() * 255 / 219
    assert float(rows[3]["mean_change"]) == pytest.approx(change, rel=1e-3)
    assert (tmp_path / "r.cuts.csv").read_text().splitlines()[2].startswith("1,8,6")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_lies_outside_the_written_map_is_bit_equal_and_everywhere_is_not(tmp_path, dtype):
    """A network that changes everything a little, and dirt more."""
    model = films.write_model(tmp_path / "rtn.safetensors", change=0.06)
    frames = np.stack(list(films.moving(4)))
    frames[1, 20:26, 30:38], frames[2, 10:14, 8:16] = 255, 0
    scale = dtype(256 if dtype == np.uint16 else 1)
    films.write_folder(tmp_path / "in", list(frames.astype(dtype) * scale))
    for name, options in (("out", []), ("every", ["--everywhere"])):
        masks = tmp_path / f"{name}_masks"
        assert run(tmp_path / "in", "--out", tmp_path / name, "--ckpt", model, "--masks", masks, *options) == 0
    before, out, every, masks = (np.stack(pictures(tmp_path / name)) for name in ("in", "out", "every", "out_masks"))
    assert 0.01 < (masks > 0).mean() < 0.98
    assert out.dtype == dtype and np.array_equal(out[masks == 0], before[masks == 0])
    assert (out[masks == 255] != before[masks == 255]).mean() > 0.8 and (every[masks == 0] != before[masks == 0]).any()
    assert np.array_equal(masks, np.stack(pictures(tmp_path / "every_masks")))


def test_a_map_that_is_corrected_by_hand_is_where_the_film_is_restored(tmp_path, model):
    source = films.write_folder(tmp_path / "in", films.moving(5))
    once = [source, "--ckpt", model, "--passes", 1]
    assert run(*once, "--out", tmp_path / "found", "--masks", tmp_path / "masks") == 0
    assert run(*once, "--out", tmp_path / "again", "--mask", tmp_path / "masks") == 0
    before, found, again, masks = (np.stack(pictures(tmp_path / name)) for name in ("in", "found", "again", "masks"))
    assert np.array_equal(found, again) and not np.array_equal(before, found)
    for file in (tmp_path / "masks").iterdir():
        picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        picture[:, :32] = 0
        cv2.imwrite(str(file), picture)
    # The maps of a part are numbered as the part is, those of the film as the film.
    for number, span in enumerate((["--frames", "0:5"], ["--frames", "2:5"])):
        out = tmp_path / f"corrected_{number}"
        assert run(*once, "--out", out, "--mask", tmp_path / "masks", *span, "--masks", tmp_path / f"m{number}") == 0
        corrected, first = np.stack(pictures(out)), 2 * number
        assert np.array_equal(corrected[..., :32], before[first:, :, :32])
        assert not np.array_equal(corrected[..., 32:], before[first:, :, 32:])
        assert np.array_equal(np.stack(pictures(tmp_path / f"m{number}"))[..., 32:], masks[first:, :, 32:])
    # Those of a part fit the part alone.
    out = tmp_path / "part"
    assert run(*once, "--out", out, "--mask", tmp_path / "m1", "--frames", "2:5") == 0
    assert np.array_equal(np.stack(pictures(out)), np.stack(pictures(tmp_path / "corrected_1")))
    assert run(*once, "--out", tmp_path / "not", "--mask", tmp_path / "m1") == 2


def test_a_second_pass_begins_from_what_the_first_one_restored(tmp_path, model):
    frames = list(films.moving(5))
    films.write_folder(tmp_path / "in", frames)
    options = ["--ckpt", model, "--dedup", "off", "--cuts", "off"]
    for passes in (1, 2, 3):
        assert run(tmp_path / "in", "--out", tmp_path / f"p{passes}", *options, "--passes", passes) == 0
    assert run(tmp_path / "in", "--out", tmp_path / "default", *options) == 0
    one, two, three, default = (np.stack(pictures(tmp_path / name)) for name in ("p1", "p2", "p3", "default"))
    assert np.array_equal(default, two) and not np.array_equal(one, two) and not np.array_equal(two, three)
    restorer = pretrained.load(model)
    for passes, expected in ((1, one), (2, two)):
        restored, defects = restorer(np.stack(frames), passes=passes)
        assert np.abs(restored.astype(int) - expected).max() <= 1 and 0 < (defects > 0).mean() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_threshold_above_every_map_returns_the_input_bit_for_bit(tmp_path, model, dtype):
    scale = 1 if dtype == np.uint8 else 257
    source = films.write_folder(
        tmp_path / "in", [picture.astype(dtype) * scale + dtype(1) for picture in films.moving(4)]
    )
    assert run(source, "--out", tmp_path / "out", "--ckpt", model, "--mask-threshold", 1.1) == 0
    for name in ("1.png", "4.png"):
        before, after = (cv2.imread(str(tmp_path / place / name), cv2.IMREAD_UNCHANGED) for place in ("in", "out"))
        assert after.dtype == dtype and np.array_equal(before, after)


def test_colour_keeps_its_chroma(tmp_path, model):
    tinted = [np.stack([picture, picture // 2 + 30, picture // 3], axis=-1) for picture in films.moving(3)]
    source = films.write_video(tmp_path / "a.mkv", tinted, "yuv444p", "ffv1")
    assert run(source, "--out", tmp_path / "b.mkv", "--codec", "ffv1", "--ckpt", model, "--everywhere") == 0
    for before, after in zip(open_film(source).frames(), open_film(tmp_path / "b.mkv").frames(), strict=True):
        before, after = before.image.to_ndarray(), after.image.to_ndarray()
        assert np.array_equal(before[1:], after[1:]) and not np.array_equal(before[0], after[0])


def test_strength_scales_the_change_and_protected_areas_have_none(tmp_path, model):
    source = films.write_folder(tmp_path / "in", films.moving(3))
    shield = np.zeros((48, 64), np.uint8)
    shield[:, :32] = 255
    cv2.imwrite(str(tmp_path / "shield.png"), shield)
    run(source, "--out", tmp_path / "full", "--ckpt", model, "--everywhere")
    run(source, "--out", tmp_path / "half", "--ckpt", model, "--everywhere", "--strength", 0.5)
    run(source, "--out", tmp_path / "shielded", "--ckpt", model, "--everywhere", "--protect", tmp_path / "shield.png")
    before, full, half, shielded = (
        np.stack(pictures(tmp_path / name)).astype(int) for name in ("in", "full", "half", "shielded")
    )
    inside = (full > 0) & (full < 255)
    assert inside.mean() > 0.5 and np.abs((full - before) / 2 - (half - before))[inside].max() <= 1
    assert np.array_equal(shielded[..., :32], before[..., :32]) and np.array_equal(shielded[..., 32:], full[..., 32:])


def test_two_shots_together_are_what_each_is_alone(tmp_path, model):
    one, two = list(films.moving(4)), list(films.moving(3, 9))
    for name, frames in (("both", one + two), ("one", one), ("two", two)):
        films.write_folder(tmp_path / name, frames)
        assert run(tmp_path / name, "--out", tmp_path / f"{name}_out", "--ckpt", model) == 0
    alone = pictures(tmp_path / "one_out") + pictures(tmp_path / "two_out")
    assert np.array_equal(np.stack(pictures(tmp_path / "both_out")), np.stack(alone))
    run(tmp_path / "both", "--out", tmp_path / "blended", "--ckpt", model, "--cuts", "off")
    assert not np.array_equal(np.stack(pictures(tmp_path / "blended")), np.stack(alone))


def test_repeats_are_restored_once_and_keep_their_place(tmp_path, model):
    frames = list(films.moving(5))
    repeated = [frames[0], frames[1], frames[1], frames[2], frames[3], frames[3], frames[4]]
    films.write_folder(tmp_path / "plain", frames)
    films.write_folder(tmp_path / "pulled", repeated)
    for name in ("plain", "pulled"):
        assert (
            run(
                tmp_path / name,
                "--out",
                tmp_path / f"{name}_out",
                "--ckpt",
                model,
                "--report",
                tmp_path / f"{name}.csv",
            )
            == 0
        )
    plain, pulled = pictures(tmp_path / "plain_out"), pictures(tmp_path / "pulled_out")
    assert np.array_equal(np.stack(pulled), np.stack([plain[i] for i in (0, 1, 1, 2, 3, 3, 4)]))
    assert [row["repeats"] for row in csv.DictReader((tmp_path / "pulled.csv").open())] == [
        "",
        "",
        "1",
        "",
        "",
        "4",
        "",
    ]


def test_frames_that_stand_still_are_restored_all_the_same(tmp_path, model):
    rng, still = np.random.default_rng(0), films.texture(0).astype(np.float32)
    films.write_folder(tmp_path / "in", [(still + rng.normal(0, 0.6, still.shape)).astype(np.uint8) for _ in range(4)])
    assert run(tmp_path / "in", "--out", tmp_path / "out", "--ckpt", model, "--everywhere") == 0
    assert all(
        (a != b).mean() > 0.5 for a, b in zip(pictures(tmp_path / "in"), pictures(tmp_path / "out"), strict=True)
    )


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (9, 40)])
def test_any_size_comes_back_in_its_size(tmp_path, model, size):
    films.write_folder(tmp_path / "in", films.moving(2, height=size[0], width=size[1]))
    assert run(tmp_path / "in", "--out", tmp_path / "out", "--ckpt", model) == 0
    assert [picture.shape for picture in pictures(tmp_path / "out")] == [size] * 2


def test_one_frame_alone_is_a_film(tmp_path, model):
    source = films.write_folder(tmp_path / "in", films.moving(1))
    assert run(source / "1.png", "--out", tmp_path / "out", "--ckpt", model) == 0
    assert len(pictures(tmp_path / "out")) == 1


def test_alpha_and_short_side_and_frames(tmp_path, model):
    rgba = [np.dstack([picture] * 3 + [np.full_like(picture, 9)]) for picture in films.moving(6)]
    (tmp_path / "in").mkdir()
    for index, picture in enumerate(rgba):
        cv2.imwrite(str(tmp_path / "in" / f"{index}.png"), picture)
    assert run(tmp_path / "in", "--out", tmp_path / "out", "--ckpt", model, "--frames", "2:5") == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["2.png", "3.png", "4.png"]
    assert (cv2.imread(str(tmp_path / "out" / "3.png"), cv2.IMREAD_UNCHANGED)[..., 3] == 9).all()
    assert run(tmp_path / "in", "--out", tmp_path / "small.mp4", "--ckpt", model, "--short-side", 32) == 0
    assert films.describe(tmp_path / "small.mp4")["size"] == (32, 32)


def test_published_windows_are_the_networks_own(tmp_path, model):
    frames = list(films.moving(24))
    films.write_folder(tmp_path / "in", frames)
    options = ["--windowing", "published", "--cuts", "off", "--dedup", "off", "--everywhere", "--passes", 1]
    assert run(tmp_path / "in", "--out", tmp_path / "out", "--ckpt", model, *options) == 0
    clip = torch.from_numpy(np.stack(frames)).float().div(127.5).sub(1)[None, :, None].expand(-1, -1, 3, -1, -1)
    rtn = pretrained.load(model).rtn
    with torch.no_grad():
        last = rtn(clip[:, 10:24], *clip_flows(DIS(), clip[:, 10:24]))[0][0, 10:].mean(1)
    expected = ((last + 1) * 127.5).round().clamp(0, 255).numpy()
    assert np.abs(np.stack(pictures(tmp_path / "out")[20:]) - expected).max() <= 1


def test_without_a_checkpoint_the_bundled_network_takes_dirt_and_flicker_away(tmp_path):
    rng = np.random.default_rng(7)
    scene = make_scene(rng, "test", 8, 64, 96, max_speed=3.0)
    worn = Degradation(sharpen_target=False, quality=0.0, flicker=False, wear=FilmWear(flicker=0.06, grain=0.03))
    sample = degrade_clip(scene.frames, DrawnTextures(1.0), worn, rng)
    old, clean = (((sample[name][:, 0] + 1) * 127.5).round().byte().numpy() for name in ("lq", "gt"))
    source = films.write_folder(tmp_path / "in", old)
    assert run(source, "--out", tmp_path / "out") == 0
    restored = np.stack(pictures(tmp_path / "out")).astype(float)
    before, after = (((frames - clean.astype(float)) ** 2).mean() for frames in (old, restored))
    assert 10 * np.log10(before / after) > 3


def test_a_file_in_the_released_layout_restores_with_the_flow_network_inside_it(tmp_path):
    case = json.loads((Path(__file__).parent / "golden" / "generator_full.json").read_text())
    state = {f"module.{name}": torch.from_numpy(fill(name, shape, 0.3)) for name, shape in case["shapes"].items()}
    torch.save({"netG": state}, tmp_path / "net_G_200000.pth")
    frames = list(films.moving(2, height=64))
    films.write_folder(tmp_path / "in", frames)
    assert run(tmp_path / "in", "--out", tmp_path / "out", "--ckpt", tmp_path / "net_G_200000.pth", "--everywhere") == 0
    loaded = pretrained.load(tmp_path / "net_G_200000.pth")
    clip = torch.from_numpy(np.stack(frames)).float().div(127.5).sub(1)[None, :, None].expand(-1, -1, 3, -1, -1)
    with torch.no_grad():
        expected = loaded.rtn(clip, *clip_flows(loaded.raft, clip))[0][0].mean(1)
    codes = ((expected + 1) * 127.5).round().clamp(0, 255).numpy()
    assert np.abs(np.stack(pictures(tmp_path / "out")) - codes).max() <= 1
    assert np.abs(np.stack(frames) - codes).mean() > 5  # tanh and all


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def film(tmp_path):
    return films.write_folder(tmp_path / "in", films.moving(3))


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nowhere.mp4"], ["nowhere.mp4 not found"]),
        (["in", "--out", "in/out"], ["in/out lies in the input"]),
        (["in", "--out", "there.mp4"], ["there.mp4 exists", "--overwrite"]),
        (["in", "--out", "film.xyz"], ["film.xyz", "no known kind"]),
        (["in", "--ckpt", "nowhere.pth"], ["nowhere.pth not found"]),
        (["in", "--ckpt", "other.pth"], ["other.pth", "not a generator of RTN"]),
        (["in", "--flow", "checkpoint"], ["no RAFT", "--flow dis"]),
        (["in", "--flow", "raft:nowhere.pth"], ["nowhere.pth not found"]),
        (["in", "--strength", "2"], ["--strength", "between 0 and 1"]),
        (["in", "--strength", "nan"], ["strength: expected a number"]),
        (["in", "--passes", "0"], ["--passes is at least 1"]),
        (["in", "--chunk", "0"], ["--chunk is at least 1"]),
        (["in", "--lookahead", "-1"], ["--lookahead is at least 0"]),
        (["in", "--tile", "-64"], ["--tile is at least 16"]),
        (["in", "--memory", "0"], ["--memory is at least 0.1"]),
        (["in", "--crf", "99"], ["--crf is between 0 and 63"]),
        (["in", "--rate", "0"], ["--rate is between 0.1 and 1000"]),
        (["in", "--short-side", "0"], ["--short-side is at least 16"]),
        (["in", "--mask-threshold", "-1"], ["--mask-threshold is at least 0"]),
        (["in", "--grain", "0.5"], ["--grain", "--everywhere"]),
        (["in", "--mask", "nowhere"], ["nowhere not found"]),
        (["in", "--mask", "big.png"], ["big.png is 70x60", "64x48"]),
        (["in", "--frames", "7:9"], ["no frame 7"]),
        (["in", "--frames", "x"], ["--frames", "100:200"]),
        (["in", "--cuts", "cuts.csv"], ["cuts.csv", "line 1", "99"]),
        (["in", "--protect", "big.png"], ["big.png is 70x60", "64x48"]),
        (["in", "--codec", "x265"], ["--codec x265"]),
        (["in", "--device", "abacus"], ["--device abacus", "use auto, cpu"]),
        (["empty"], ["empty holds no frames"]),
        (["odd"], ["1.png is 64x48", "2.png is 60x48"]),
        (["broken"], ["2.png is truncated"]),
        (["zero.mp4"], ["zero.mp4 is empty"]),
        (["text.mp4"], ["text.mp4 is not a video"]),
        (["in", "--side-by-side", "there.mp4"], ["there.mp4 exists"]),
        (["in", "--mask-treshold", "0.5"], ["mask_treshold", "did you mean mask_threshold"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, film, model, monkeypatch, capsys, arguments, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.mp4").write_bytes(b"precious")
    (tmp_path / "empty").mkdir()
    films.write_folder(tmp_path / "odd", [films.texture(0), films.texture(1, 48, 60)])
    broken = films.write_folder(tmp_path / "broken", films.moving(2))
    (broken / "2.png").write_bytes((broken / "2.png").read_bytes()[:400])
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "text.mp4").write_text("Once upon a time in the west " * 50)
    (tmp_path / "cuts.csv").write_text("99\n")
    cv2.imwrite("big.png", films.texture(0, 60, 70))
    torch.save({"conv.weight": torch.zeros(3)}, "other.pth")
    given = arguments if "--out" in arguments else [*arguments, "--out", "result.mp4"]
    given = given if "--ckpt" in arguments else [*given, "--ckpt", str(model)]
    said(capsys, run(*given), *parts)
    assert (tmp_path / "there.mp4").read_bytes() == b"precious"
    assert not (tmp_path / "result.mp4").exists() and not list(tmp_path.glob("*.tmp"))


def test_a_truncated_film_is_restored_as_far_as_it_goes_with_a_warning(tmp_path, model, capsys):
    path = films.write_video(tmp_path / "a.mkv", films.moving(60), "yuv420p", "ffv1", sound=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert run(path, "--out", tmp_path / "b.mkv", "--ckpt", model) == 0
    count = len(pictures(path))
    assert 2 < count < 30 and len(pictures(tmp_path / "b.mkv")) == count
    warned = " ".join(capsys.readouterr().err.split())
    assert "damaged" in warned and f"{count} frames" in warned


def test_a_network_that_changes_everything_is_warned_about(tmp_path, capsys):
    model = films.write_model(tmp_path / "tanh.safetensors", tanh_residual=True, change=0.5)
    films.write_folder(tmp_path / "in", films.moving(3))
    assert run(tmp_path / "in", "--out", tmp_path / "out", "--ckpt", model, "--mask-threshold", 0.001) == 0
    assert "more than half of the picture" in " ".join(capsys.readouterr().err.split())


# Real films, and their length -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the real films are not there (shared/data/old_films_rtn)")
def test_twelve_real_scans_end_to_end(tmp_path, model):
    source, video = REAL / "archive_001", tmp_path / "cmp.mp4"
    assert run(source, "--out", tmp_path / "out", "--ckpt", model, "--short-side", 96, "--side-by-side", video) == 0
    assert len(list((tmp_path / "out").iterdir())) == 12
    assert films.describe(video)["frames"] == 12


def test_shots_are_shared_by_ranks_and_put_together_once(tmp_path, model, processes):
    source = films.write_folder(tmp_path / "in", [*films.moving(4), *films.moving(4, 9), *films.moving(3, 20)])
    assert run(source, "--out", tmp_path / "one", "--ckpt", model) == 0
    script = Path(__file__).parents[1] / "restore.py"
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    processes.group(code, script, source, "--out", tmp_path / "two", "--ckpt", model, "--device", "cpu")
    assert np.array_equal(np.stack(pictures(tmp_path / "one")), np.stack(pictures(tmp_path / "two")))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_film(tmp_path):
    """A shallow network on larger pictures: as much that could be kept of a frame, for less work on it."""
    model = films.write_model(tmp_path / "rtn.safetensors", depths=(1,))

    def peak(count):
        base = films.texture(0, 160, 400)
        frames = (np.roll(base, (index % 7, 2 * index), (0, 1))[:96, :128].copy() for index in range(count))
        path = films.write_video(tmp_path / f"{count}.mp4", frames, sound=False)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
        assert run(path, "--out", tmp_path / f"{count}_out.mp4", "--ckpt", model, "--chunk", 6) == 0
        lines = Path("/proc/self/status").read_text().splitlines()
        assert films.describe(tmp_path / f"{count}_out.mp4")["frames"] == count
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    peak(6)  # the libraries' own first time
    short, long = peak(12), peak(42)
    # In kB: a state of 16 channels for each of 30 frames would be 24 000.
    assert long - short <= 12_000, (short, long)
