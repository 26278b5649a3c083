"""Cuts last; flashes, dirt, motion and flicker are none. Repeats are found, and nothing else."""

from pathlib import Path

import films
import numpy as np
import pytest

from old_films_rtn.video.frame import to_unit
from old_films_rtn.video.io import open_film
from old_films_rtn.video.shots import Shots, change, find_shots, read_cuts, write_cuts
from shared_utils import UserError

REAL = (
    Path(__file__).parents[3] / "shared" / "data" / "old_films_rtn" / "remaster_clip" / "a-bomb_blast_effects_part.mp4"
)


def unit(pictures):
    return [to_unit(picture, (0, 255)) for picture in pictures]


def shot(count, seed):
    return unit(films.moving(count, seed, 96, 128))


def test_a_cut_is_found_where_it_is():
    assert find_shots(shot(9, 0) + shot(7, 5) + shot(8, 9)).starts == [0, 9, 16]


@pytest.mark.parametrize("length", [1, 2])
def test_a_flash_is_no_cut(length):
    frames = shot(16, 0)
    for index in range(8, 8 + length):
        frames[index] = np.full_like(frames[0], 0.95) + 0.04 * unit([films.texture(77, 96, 128)])[0]
    assert find_shots(frames).starts == [0]


def test_a_torn_frame_is_no_cut():
    frames = shot(12, 0)
    frames[6] = shot(1, 44)[0]
    assert find_shots(frames).starts == [0]


def test_a_cut_beside_a_flash_is_still_found():
    frames = shot(8, 0) + shot(8, 5)
    frames[7] = np.ones_like(frames[0])
    assert find_shots(frames).starts in ([0, 7], [0, 8], [0, 7, 8])


def test_flicker_dirt_and_fast_motion_are_no_cuts():
    rng = np.random.default_rng(0)
    base = films.texture(0, 96, 300, blur=4)
    frames = []
    for index in range(14):
        picture = base[:, 9 * index : 9 * index + 128].astype(np.float32) * rng.uniform(0.8, 1.2)
        for _ in range(6):
            y, x = rng.integers(0, 80), rng.integers(0, 110)
            picture[y : y + 9, x : x + 7] = rng.choice([0, 255])
        frames.append(to_unit(picture.clip(0, 255).astype(np.uint8), (0, 255)))
    assert find_shots(frames).starts == [0]


@pytest.mark.parametrize("cut", [1, 2, 11, 10])
def test_cuts_at_the_very_ends_are_found(cut):
    assert find_shots(shot(cut, 0) + shot(12 - cut, 5)).starts == [0, cut]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_shortest_films(count):
    found = find_shots(shot(count, 0))
    assert found.length == count and found.starts == [0] and found.repeats == list(range(count))


def test_repeats_point_at_their_original_and_dirt_is_no_repeat():
    frames = shot(6, 0)
    frames[3] = frames[2] + np.float32(0.2 / 127.5)
    frames[4] = frames[2].copy()
    frames[5] = frames[2].copy()
    frames[5][30:36, 40:46] = 1
    assert find_shots(frames).repeats == [0, 1, 2, 2, 2, 5]


def test_exposures_that_differ_by_grain_alone_are_no_repeats():
    rng, still = np.random.default_rng(0), films.texture(0).astype(np.float32)
    frames = unit((still + rng.normal(0, 2, still.shape)).clip(0, 255).astype(np.uint8) for _ in range(5))
    assert find_shots(frames).repeats == [0, 1, 2, 3, 4]


def test_cuts_are_written_and_read_back(tmp_path):
    shots = Shots([0, 44, 134], 200, list(range(200)), [0.9] * 200)
    write_cuts(shots, tmp_path / "cuts.csv")
    assert read_cuts(tmp_path / "cuts.csv", 200) == [0, 44, 134]
    (tmp_path / "plain.txt").write_text("134\n44\n")
    assert read_cuts(tmp_path / "plain.txt", 200) == [0, 44, 134]


@pytest.mark.parametrize(
    ("text", "said"), [("44\n200\n", "line 2.*'200'"), ("a,b\n1,2\n", "first_frame"), ("44\nx\n", "'x'")]
)
def test_a_wrong_list_of_cuts_is_explained(tmp_path, text, said):
    (tmp_path / "cuts.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_cuts(tmp_path / "cuts.csv", 200)


@pytest.mark.skipif(not REAL.is_file(), reason="the real film is not there (shared/data/old_films_rtn/remaster_clip)")
def test_the_cuts_and_repeats_of_a_real_film():
    found = find_shots(to_unit(frame.luma, frame.black_white) for frame in open_film(REAL).frames())
    assert found.starts == [0, 44, 134, 299] and found.length == 360
    repeated = [index for index, original in enumerate(found.repeats) if original != index]
    assert 40 < len(repeated) < 75 and sum(index % 5 == 3 for index in repeated) > 0.95 * len(repeated)


def test_pictures_whose_histograms_do_not_overlap_differ_by_more_than_their_pixels_do():
    """Levels moved from the middle of a bin to that of the next one, up in every pixel, or up in one half and down in the
    other of equal levels: the pixels differ as much, the histograms only in the first."""
    base = (films.texture(0, 96, 128, blur=4).astype(int) // 16 * 16 + 4).clip(36, 212)
    checks = np.indices(base.shape).sum(0) // 16 % 2
    shifted, swapped = base + 8, base + np.where(checks, 16, 0)
    apart, mixed = (change(base.astype(np.uint8), other.astype(np.uint8)) for other in (shifted, swapped))
    levels = np.abs(base - base.mean()).mean()
    assert apart == pytest.approx(8 / levels + 0.4, abs=0.08)
    assert apart > mixed - 8 / levels
