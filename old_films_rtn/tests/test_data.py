"""Made clips and degraded ones: the truth beside them is true, and they depend on the seed alone."""

import cv2
import numpy as np
import pytest
import torch

from old_films_rtn.data import degradation as film
from old_films_rtn.data.clips import FilmClips, ProceduralClips, as_clip, collate, degrade_clip, find_clips
from old_films_rtn.data.datamodule import FilmDataModule
from old_films_rtn.data.drawn import DrawnTextures
from old_films_rtn.data.procedural import IMAGES, make_scene
from old_films_rtn.data.structures import draw_structure
from old_films_rtn.data.textures import TemplateTextures, inscribed_rectangle, shift
from old_films_rtn.models.rtn import warp
from shared_utils import UserError

PLAIN = film.Degradation(sharpen_target=False, quality=0.0, flicker=False)


def write_clip(folder, count, size=(48, 64), seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (size[0] + 2 * count, size[1] + 2 * count), np.uint8), (0, 0), 1.5)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i}.png"), noise[2 * i : 2 * i + size[0], 2 * i : 2 * i + size[1]])
    return folder


# Made clips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "structures"), [*((seed, 0.0) for seed in range(4)), (4, 3.0), (5, 3.0)])
def test_the_known_flow_brings_a_made_frame_onto_its_neighbour(seed, structures):
    scene = make_scene(np.random.default_rng(seed), "train", 4, 64, 80, structures=structures)
    frames = torch.from_numpy(scene.frames[:, None] / 255.0).float()
    for flow, visible, there, here in (
        (scene.forward_flow, scene.forward_visible, frames[:-1], frames[1:]),
        (scene.backward_flow, scene.backward_visible, frames[1:], frames[:-1]),
    ):
        error = (warp(there, torch.from_numpy(flow)) - here).abs()[:, 0].numpy()
        # Edges of objects are mixed of two layers, and bilinear warping softens; the middle of a layer is exact.
        assert error[visible].mean() < 0.02
        assert np.median(error[visible]) < 0.01
        assert error[visible].mean() < error[~visible].mean()


def test_structures_are_part_of_the_scene_and_some_scenes_stand_still():
    still = 0
    for seed in range(12):
        plain, built = (
            make_scene(np.random.default_rng(seed), "train", 3, 64, 64, max_objects=1, structures=mean)
            for mean in (0.0, 3.0)
        )
        assert plain.frames.shape == built.frames.shape and not np.array_equal(plain.frames, built.frames)
        still += (np.abs(built.forward_flow).max((1, 2, 3)) > 0.05).all() and bool(
            (np.abs(built.forward_flow) < 1e-6).all(1).mean() > 0.4
        )
    assert 2 <= still <= 9  # two scenes of five, without their objects
    for seed in range(20):
        drawn = draw_structure(np.random.default_rng(seed), 90, 1.0)
        assert (
            drawn.texture.shape == drawn.cover.shape == (90, 90)
            and 0 <= drawn.texture.min() <= drawn.texture.max() <= 1
        )
        assert 0.001 < drawn.cover.mean() < 0.9 and drawn.cover.max() <= 1


def test_a_kind_of_defect_may_be_absent_from_a_clip():
    counts = []
    for absent in (0.0, 1.0):
        textures = DrawnTextures(2.0, lasting=4.0, largest=2.0, absent=absent)
        counts.append(sum(len(frame) for frame in textures.draw(np.random.default_rng(0), 4, 64, 64)))
    assert counts[0] > 12 and counts[1] == 0
    with pytest.raises(UserError, match="absent 1.5"):
        DrawnTextures(absent=1.5)


def test_made_clips_move_and_occlude():
    scenes = [make_scene(np.random.default_rng(seed), "val", 3, 64, 64) for seed in range(6)]
    assert all(np.abs(scene.forward_flow).max() > 0.5 for scene in scenes)
    assert all(0 < scene.forward_visible.mean() < 1 for scene in scenes)


def test_no_photograph_is_in_two_splits():
    names = [name for names in IMAGES.values() for name in names]
    assert len(names) == len(set(names))


def test_coloured_scenes_have_the_same_flow_as_they_would_in_grey():
    scene = make_scene(np.random.default_rng(3), "train", 3, 48, 64, colour=True)
    assert scene.frames.shape == (3, 48, 64, 3) and scene.forward_flow.shape == (2, 2, 48, 64)
    assert (scene.frames.std(axis=-1) > 2).any()


def test_a_sample_depends_on_seed_epoch_and_index_alone():
    def dataset(seed=0):
        return ProceduralClips("train", 8, 3, (32, 48), DrawnTextures(), PLAIN, seed)

    first, again = dataset()[1, 2], dataset()[1, 2]
    assert all(torch.equal(first[name], again[name]) for name in first if name != "key")
    for other in (dataset()[2, 2], dataset()[1, 3], dataset(seed=1)[1, 2]):
        assert not torch.equal(first["lq"], other["lq"])
    test = [
        ProceduralClips("test", 8, 3, (32, 48), DrawnTextures(), PLAIN, seed)[epoch, 0]
        for seed, epoch in ((0, 0), (1, 3))
    ]
    assert torch.equal(test[0]["lq"], test[1]["lq"])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_are_the_same_for_any_number_of_workers(workers):
    module = FilmDataModule(
        num_frames=2, crop=32, batch_size=2, samples_per_epoch=4, num_workers=workers, degradation=PLAIN
    )
    batches = list(module.train_dataloader())
    alone = FilmDataModule(num_frames=2, crop=32, batch_size=2, samples_per_epoch=4, degradation=PLAIN)
    for batch, other in zip(batches, alone.train_dataloader(), strict=True):
        assert torch.equal(batch["lq"], other["lq"]) and torch.equal(batch["forward_flow"], other["forward_flow"])


# Degradation ---------------------------------------------------------------------------------------------------------


def test_the_mask_is_where_the_frames_differ():
    scene = make_scene(np.random.default_rng(0), "train", 3, 64, 64)
    sample = degrade_clip(scene.frames, DrawnTextures(), PLAIN, np.random.default_rng(1))
    changed = (sample["lq"] - sample["gt"]).abs()[:, :1] > 2.5 / 127.5
    assert not changed[sample["mask"] == 0].any()
    assert 0.02 < (sample["mask"] > 0.1).float().mean() < 0.4


def test_inputs_are_left_as_they_were():
    frames = make_scene(np.random.default_rng(0), "train", 2, 64, 64).frames
    kept = frames.copy()
    every = film.FilmWear(0.1, 0.5, 0.3, 0.05, 1.0, 1.0)
    degrade_clip(frames, DrawnTextures(), film.Degradation(wear=every, random_order=True), np.random.default_rng(0))
    assert (frames == kept).all()


@pytest.mark.parametrize("field", ["flicker", "weave", "vignette", "grain", "splice", "gate_hair"])
def test_every_kind_of_wear_shows_where_it_is_on(field):
    frames = make_scene(np.random.default_rng(0), "train", 4, 64, 64).frames
    defects = field == "gate_hair"
    worn = film.Degradation(
        sharpen_target=False, defects=defects, quality=0, flicker=False, wear=film.FilmWear(**{field: 1.0})
    )
    sample = degrade_clip(frames, DrawnTextures(0.0), worn, np.random.default_rng(0))
    compared = as_clip(frames) if field == "weave" else sample["gt"]
    assert (sample["lq"] - compared).abs().max() > 0.1
    if field != "gate_hair":
        assert (sample["mask"] == 0).all()


def test_flow_follows_the_weave():
    scene = make_scene(np.random.default_rng(2), "train", 4, 64, 64, 2.0)
    shifts = np.random.default_rng(0).uniform(-2, 2, (4, 2))
    frames, (forward, backward) = film.weave_frames(scene.frames, (scene.forward_flow, scene.backward_flow), shifts)
    images = torch.from_numpy(frames[:, None] / 255.0).float()
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    for flow, there, here in ((forward, images[:-1], images[1:]), (backward, images[1:], images[:-1])):
        assert (warp(there, torch.from_numpy(flow)) - here)[inner].abs().median() < 0.01


def test_an_order_that_is_drawn_changes_the_frame():
    frame = make_scene(np.random.default_rng(0), "train", 1, 64, 64).frames[0]
    quality = film.draw_quality(np.random.default_rng(4), 1)[0]
    noise = film.quality_noise(np.random.default_rng(0), quality, 64, 64)
    published = film.degrade_quality(frame, quality, noise)
    other = film.degrade_quality(frame, quality, noise, ("noise", "rescale", "blur", "jpeg"))
    assert published.shape == other.shape == frame.shape and (published != other).any()


def test_the_sharpened_target_differs_from_the_frame_only_where_there_is_detail():
    flat = np.full((64, 64), 0.5, np.float32)
    assert np.allclose(film.sharpen(flat), flat)
    step = flat.copy()
    step[:, 32:] = 0.9
    assert np.abs(film.sharpen(step) - step).max() > 0.02


def test_an_inscribed_rectangle_fits_and_grows_to_the_whole_at_no_turn():
    assert inscribed_rectangle(30, 20, 0) == pytest.approx((30, 20))
    width, height = inscribed_rectangle(30, 20, 0.4)
    corners = np.array([[width, height], [width, -height]]) / 2
    turn = np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    assert (np.abs(corners @ turn.T) <= np.array([15, 10]) + 1e-6).all()


def test_a_moving_line_keeps_its_size_and_its_columns():
    texture = np.arange(20, dtype=np.uint8)[None].repeat(3, 0)
    assert (shift(texture, 4, left=True)[0, :16] == np.arange(4, 20)).all()
    assert (shift(texture, 4, left=False)[0, 4:] == np.arange(16)).all()


def test_templates_are_cut_from_their_folders(tmp_path):
    rng = np.random.default_rng(0)
    for group in ("001", "004", "008", "own"):
        (tmp_path / group).mkdir()
        paper = np.full((300, 400), 250, np.uint8)
        for _ in range(30):
            cv2.circle(paper, tuple(map(int, rng.integers(60, 240, 2))), int(rng.integers(2, 9)), 20, -1)
        cv2.imwrite(str(tmp_path / group / "a.png"), paper)
    textures = TemplateTextures(tmp_path)
    assert set(textures.files) == {"001", "004", "008", "own"}
    for seed in range(12):
        layers = textures.draw(np.random.default_rng(seed), 3, 48, 72)
        assert len(layers) == 3
        for (layer,) in layers:
            assert layer.texture.shape == (48, 72) and 0.6 <= layer.opacity <= 1
    lines = [
        draw
        for draw in (textures.draw(np.random.default_rng(s), 3, 48, 72) for s in range(30))
        if len({f[0].mode for f in draw}) == 1
    ]
    assert lines
    with pytest.raises(UserError, match="no template"):
        (tmp_path / "empty").mkdir()
        TemplateTextures(tmp_path / "empty")
    with pytest.raises(UserError, match="not a folder"):
        TemplateTextures(tmp_path / "absent")


# Clips on disk -------------------------------------------------------------------------------------------------------


def test_clips_are_found_in_every_layout_and_in_natural_order(tmp_path):
    write_clip(tmp_path / "reds" / "000", 12)
    write_clip(tmp_path / "vimeo" / "00001" / "0002", 2)
    (tmp_path / "reds" / "000" / "notes.avi").write_text("no image")
    assert list(find_clips(tmp_path / "reds")) == ["000"]
    assert [path.stem for path in find_clips(tmp_path / "reds")["000"]] == [str(i) for i in range(12)]
    assert list(find_clips(tmp_path / "vimeo")) == ["00001/0002"]
    assert list(find_clips(tmp_path / "reds" / "000")) == ["000"]
    (tmp_path / "list.txt").write_text("reds/000\n")
    assert list(find_clips(tmp_path / "list.txt")) == ["reds/000"]
    for bad, said in ((tmp_path / "absent", "not found"), (tmp_path / "vimeo" / "00001" / "empty", "no images")):
        if said == "no images":
            bad.mkdir()
        with pytest.raises(UserError, match=said):
            find_clips(bad)


def windows(dataset, count):
    return {tuple(dataset.window(np.random.default_rng(seed), 12)) for seed in range(count)}


def test_windows_vary_and_respect_the_interval(tmp_path):
    clips = find_clips(write_clip(tmp_path / "clip", 12))
    seen = windows(FilmClips(clips, 4, 32, None, PLAIN, intervals=(1, 2)), 100)
    assert {window[1] - window[0] for window in seen} == {1, 2}
    assert {window[0] for window in seen} == set(range(9))
    assert all(window[-1] < 12 for window in seen)
    assert windows(FilmClips(clips, 4, 32, None, PLAIN, training=False), 5) == {(4, 5, 6, 7)}


def test_frames_on_disk_become_samples(tmp_path):
    clips = find_clips(write_clip(tmp_path / "clip", 6, (50, 70)))
    dataset = FilmClips(clips, 3, 32, DrawnTextures(), PLAIN, length=5)
    sample = dataset[0, 4]
    assert sample["lq"].shape == sample["gt"].shape == (3, 3, 32, 32) and sample["mask"].shape == (3, 1, 32, 32)
    assert torch.equal(sample["lq"], dataset[0, 4]["lq"]) and not torch.equal(sample["gt"], dataset[1, 4]["gt"])
    whole = FilmClips(clips, 3, None, DrawnTextures(), PLAIN, training=False)[0, 0]
    assert whole["lq"].shape == (3, 3, 48, 64)
    larger = FilmClips(clips, 3, 64, DrawnTextures(), PLAIN)[0, 0]
    assert larger["lq"].shape == (3, 3, 64, 64)


def test_a_corrupt_frame_is_skipped_in_training_and_an_error_in_evaluation(tmp_path, caplog):
    folder = write_clip(tmp_path / "clip", 3)
    (folder / "1.png").write_bytes(b"no image")
    clips = find_clips(folder)
    assert FilmClips(clips, 3, 32, DrawnTextures(), PLAIN)[0, 0] is None
    assert "1.png" in caplog.text
    with pytest.raises(UserError, match=r"1\.png"):
        FilmClips(clips, 3, 32, DrawnTextures(), PLAIN, training=False)[0, 0]
    assert collate([None]) is None


def test_clips_that_are_too_short_are_named(tmp_path):
    with pytest.raises(UserError, match="no clip has 7 frames"):
        FilmClips(find_clips(write_clip(tmp_path / "clip", 3)), 7, 32, None, PLAIN)


def test_a_twentieth_of_the_clips_is_held_out(tmp_path):
    for number in range(4):
        write_clip(tmp_path / f"{number:03d}", 3, (32, 32), number)
    module = FilmDataModule(str(tmp_path), num_frames=3, eval_frames=3, crop=32, eval_crop=32, degradation=PLAIN)
    train = {name for name, _ in module.dataset("train").clips}
    val = {name for name, _ in module.dataset("val").clips}
    assert train and val and not train & val and len(train | val) == 4


def test_lasting_lines_are_in_every_frame_and_flickering_ones_are_not():
    kinds = {}
    for kind in ("lasting scratches", "flickering scratches", "dirt", "hairs", "blotches"):
        layers = DrawnTextures(2.0).of_kind(kind, np.random.default_rng(0), 6, 64, 96, 2.0)
        hidden = [
            np.max([layer.weight() for layer in frame], axis=0) if frame else np.zeros((64, 96)) for frame in layers
        ]
        kinds[kind] = np.stack(hidden)
    lasting = (kinds["lasting scratches"] > 0.1).any(1).all(0)  # columns that have it in every frame
    assert 3 <= lasting.sum() < 40
    assert not (kinds["dirt"] > 0.1).all(0).any()
    assert kinds["hairs"].any() and kinds["blotches"].any() and kinds["flickering scratches"].any()


def test_defects_grow_with_their_size_and_the_default_draws_none_that_last():
    def largest_run(scale):
        layers = DrawnTextures().of_kind("dirt", np.random.default_rng(3), 8, 128, 128, scale)
        masks = [(layer.weight() > 0.1).astype(np.uint8) for frame in layers for layer in frame]
        stats = [cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA] for mask in masks]
        return np.median(np.concatenate(stats))

    assert largest_run(4.0) > 5 * largest_run(1.0)
    drawn = DrawnTextures(0.0, lasting=30.0, largest=4.0).draw(np.random.default_rng(0), 3, 48, 48)
    assert all(len(frame) > 10 for frame in drawn)
    assert all(len(frame) < 5 for frame in DrawnTextures(0.0).draw(np.random.default_rng(0), 3, 48, 48))
    with pytest.raises(UserError, match="largest"):
        DrawnTextures(largest=0.5)
