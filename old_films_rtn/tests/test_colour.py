"""Key-frame colour: given colours stay exact, luma stays untouched, and no colour crosses a cut."""

import cv2
import films
import numpy as np
import pytest
import torch

from old_films_rtn.colour.cells import ColourCell, OnLightness
from old_films_rtn.colour.key_frames import Keys
from old_films_rtn.colour.lab import from_lab, grey, keep_colour, lightness, to_lab
from old_films_rtn.colour_module import ColourModule
from old_films_rtn.commands import colorize, train_colour
from old_films_rtn.data.colour import ColourClips
from old_films_rtn.data.procedural import LUMA, make_scene, recoloured
from old_films_rtn.flow import DIS, clip_flows
from old_films_rtn.metrics import colour_consistency
from old_films_rtn.models.colour import AB_SCALE, ColourNetwork, Correspondence, arrived, carried_clip, carry, visible
from old_films_rtn.models.rtn import warp
from old_films_rtn.pretrained import load_colour
from old_films_rtn.streaming import restore_shot
from old_films_rtn.video.io import open_film
from shared_utils import UserError, checkpoint


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = ColourNetwork().eval()
    torch.nn.init.normal_(model.fusion.out.weight, std=0.02)
    return model


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("colour") / "colour.safetensors"
    checkpoint.save_safetensors(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def sample():
    return ColourClips(None, "test", 4, 6, 48, 0)[0, 0]


def flows(clip):
    return clip_flows(DIS(), clip[:, :, :1].expand(-1, -1, 3, -1, -1))


def coloured(count, seed=0):
    """A moving texture in colour, (h, w, 3) RGB uint8: warm on the left, cold on the right."""
    for picture in films.moving(count, seed):
        hue = np.linspace(0.6, 1.4, picture.shape[1])[None]
        yield np.stack([picture / hue, picture * 0.9, picture * hue], axis=-1).clip(0, 255).astype(np.uint8)


def same_pictures(a, b):
    for one, other in zip(open_film(a).frames(), open_film(b).frames(), strict=True):
        assert np.array_equal(one.image.to_ndarray(), other.image.to_ndarray())


def run(*arguments):
    return colorize.main([str(argument) for argument in arguments])


# The network ------------------------------------------------------------------------------------------------------


def test_a_given_frame_comes_back_exactly(model, sample):
    clip, ab = sample["clip"][None], sample["ab"][None]
    with torch.no_grad():
        answer = model(clip, *flows(clip))[0]
    for key in (0, 5):
        assert torch.equal(answer[:, key], clip[:, key, 1:3])
        assert torch.allclose(answer[:, key] * AB_SCALE, ab[:, key], atol=1e-4)
    assert not torch.equal(answer[:, 2], clip[:, 2, 1:3])


def carried(clip, forward_flow, backward_flow):
    behind, ahead = (states.flatten(0, 1) for states in carried_clip(clip, forward_flow, backward_flow))
    return arrived(behind, ahead).unflatten(0, clip.shape[:2])


def test_before_training_the_answer_is_much_nearer_than_grey(sample):
    clip, truth = sample["clip"][None], sample["ab"][None] / AB_SCALE
    with torch.no_grad():
        answers = ColourNetwork().eval()(clip, *flows(clip))
    for answer in answers[:2]:
        assert (answer - truth)[:, 1:-1].square().mean() < 0.3 * truth[:, 1:-1].square().mean()


def test_colour_that_stands_still_is_carried_unchanged():
    torch.manual_seed(0)
    frame = torch.rand(1, 1, 4, 32, 32) - 0.5
    clip = frame.repeat(1, 4, 1, 1, 1)
    clip[:, :, 3] = 0
    clip[:, 1, 3] = 1
    clip[:, [0, 2, 3], 1:3] = 0
    still = torch.zeros(1, 3, 2, 32, 32)
    assert torch.allclose(carried(clip, still, still), frame[:, :, 1:3].expand(-1, 4, -1, -1, -1), atol=1e-4)


def test_the_nearer_key_frame_weighs_more():
    clip = torch.zeros(1, 9, 4, 32, 32)
    clip[:, 0, 1:], clip[:, 8, 1:] = 1.0, 1.0
    clip[:, 8, 1] = -1.0
    still = torch.zeros(1, 8, 2, 32, 32)
    answer = carried(clip, still, still)[0, :, 0].mean((1, 2))
    assert torch.all(answer[:-1] >= answer[1:]) and answer[4].abs() < 1e-5 and answer[0] == 1 and answer[8] == -1


def test_without_any_key_frame_there_is_no_colour_before_training():
    clip = torch.zeros(1, 3, 4, 32, 32)
    clip[:, :, 0] = torch.rand(3, 32, 32)
    with torch.no_grad():
        assert not ColourNetwork().eval()(clip, *flows(clip))[0].any()


def test_a_flow_that_does_not_come_back_is_not_confirmed():
    there, back = torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16)
    there[:, 0], back[:, 0] = 4.0, -4.0
    assert visible(there, back)[..., :12].min() > 0.999
    back[:, 0, :, 8:] = 4.0
    confirmed = visible(there, back)
    assert confirmed[..., :4].min() > 0.999 and confirmed[..., 4:].max() < 1e-6


def test_a_place_finds_its_colour_in_any_key_frame_however_far():
    torch.manual_seed(0)
    left, right = torch.rand(1, 1, 32, 32) - 0.5, torch.rand(1, 1, 32, 32) - 0.5
    keys = []
    match = Correspondence().eval()
    with torch.no_grad():
        match.sharpness.fill_(11.0)
        match.nearness.fill_(-20.0)
        for texture, colour in ((left, 0.5), (right, -0.5)):
            picture = torch.cat((torch.zeros(1, 1, 32, 32), texture), dim=-1)
            keys.append(match.key(torch.cat((picture, torch.full((1, 3, 32, 64), colour)), dim=1)))
        moved = torch.cat((right, left), dim=-1)
        found = match(moved, keys)
        assert found[:, 0, 8:24, 40:52].mean() > 0.25 and found[:, 0, 8:24, 12:24].mean() < -0.25
        assert found[:, 3, 8:24, 8:24].mean() > 0.9
        assert not match(moved, []).any()


def test_larger_frames_are_compared_at_a_bounded_size():
    match = Correspondence().eval()
    with torch.no_grad():
        frame = torch.rand(1, 4, 320, 512)
        key = match.key(frame)
        assert 3500 < key.features.shape[1] <= 4096
        assert match(frame[:, :1], [key]).shape == (1, 4, 320, 512)


@pytest.mark.parametrize(("chunk", "tile"), [(2, None), (6, 16), (4, 32)])
def test_streaming_and_tiles_do_not_show(model, sample, chunk, tile, tmp_path):
    clip = sample["clip"][None]
    with torch.no_grad():
        whole = model(clip, *flows(clip))[0]

    cell = ColourCell(model, tile=tile).with_keys([clip[:, 0], clip[:, 5]])
    for result in restore_shot(cell, list(clip.unbind(1)), OnLightness(DIS()), chunk=chunk, scratch=tmp_path):
        assert torch.allclose(result.output, whole[:, result.index], atol=1e-5)


# Lab ----------------------------------------------------------------------------------------------------------------


def test_lab_goes_there_and_back_and_its_lightness_is_that_of_grey():
    rgb = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), dtype=np.uint8)
    assert np.allclose(from_lab(to_lab(rgb)), rgb.transpose(0, 3, 1, 2) / 255, atol=2e-3)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert np.allclose(lightness(ramp[..., 0] / 255), to_lab(ramp)[0], atol=1e-2)


def test_inputs_are_copies():
    lab = np.random.default_rng(0).normal(size=(4, 3, 5, 5)).astype(np.float32)
    before = lab.copy()
    kept = keep_colour(lab, [1, -1])
    assert np.array_equal(lab, before)
    assert [bool(frame[1:].any()) for frame in kept] == [False, True, False, True] and np.array_equal(
        kept[:, 0], lab[:, 0]
    )


# The command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def film(tmp_path):
    """Two grey shots of 6 and 5 frames in limited-range YUV, with key-frames for the first: 1 and 4."""
    one = list(coloured(6))
    pictures = [np.repeat(grey(picture)[..., None], 3, axis=2) for picture in [*one, *coloured(5, 9)]]
    source = films.write_video(tmp_path / "film.mkv", pictures, "yuv444p", "ffv1")
    (tmp_path / "keys").mkdir()
    for index in (1, 4):
        cv2.imwrite(str(tmp_path / "keys" / f"{index:06d}.png"), one[index][..., ::-1])
    return source


def test_a_film_is_coloured_and_its_luma_is_untouched(tmp_path, film, weights, capsys):
    out = tmp_path / "colour.mkv"
    assert run(film, "--keyframes", tmp_path / "keys", "--out", out, "--ckpt", weights, "--codec", "ffv1") == 0
    before, after = (list(open_film(path).frames()) for path in (film, out))
    assert len(after) == 11 and films.sound(film) == films.sound(out)
    assert all(np.array_equal(a.luma, b.luma) for a, b in zip(before, after, strict=True))
    chroma = [np.abs(frame.image.to_ndarray()[1:].astype(int) - 128).mean() for frame in after]
    assert min(chroma[:6]) > 3 and max(chroma[6:]) == 0  # no colour behind the cut
    assert "frames 6 to 10" in " ".join(capsys.readouterr().err.split())
    given = cv2.imread(str(tmp_path / "keys" / "000004.png"))[..., ::-1]
    assert np.abs(to_lab(after[4].rgb())[1:] - to_lab(given)[1:]).mean() < 2
    assert colour_consistency(np.stack([frame.rgb() for frame in after[:6]])) < 0.1


def test_grey_scans_become_rgb_and_key_frames_may_be_numbered_from_anywhere(tmp_path, weights):
    pictures = list(coloured(4))
    films.write_folder(tmp_path / "in", [grey(picture) for picture in pictures])
    (tmp_path / "keys").mkdir()
    cv2.imwrite(str(tmp_path / "keys" / "0872_out.png"), cv2.resize(pictures[2][..., ::-1], (128, 96)))
    arguments = [tmp_path / "in", "--keyframes", tmp_path / "keys", "--out", tmp_path / "out", "--ckpt", weights]
    assert run(*arguments, "--first-frame", 870) == 0
    frames = [frame.image for frame in open_film(tmp_path / "out").frames()]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    assert np.abs(to_lab(frames[2])[1:] - to_lab(pictures[2])[1:]).mean() < 4


def test_colour_that_is_only_carried_differs_from_the_bundled_networks(tmp_path, film, capsys):
    for name, options in (("carried", ["--carry_only"]), ("bundled", [])):
        out = tmp_path / f"{name}.mkv"
        assert run(film, "--keyframes", tmp_path / "keys", "--out", out, "--codec", "ffv1", "--chunk", 4, *options) == 0
    carried, bundled = (list(open_film(tmp_path / f"{name}.mkv").frames()) for name in ("carried", "bundled"))
    apart = [np.abs(a.rgb().astype(int) - b.rgb()).mean() for a, b in zip(carried, bundled, strict=True)]
    assert 0 < max(apart) < 10 and apart[1] == apart[4] == 0  # key-frames are as given
    status = run(film, "--keyframes", tmp_path / "keys", "--out", tmp_path / "x.mkv", "--carry_only", "--ckpt", "y")
    assert status == 2 and "--carry_only uses no network" in capsys.readouterr().err


def test_key_frames_of_another_scan_are_aligned(tmp_path):
    (tmp_path / "keys").mkdir()
    wide = np.stack([films.texture(seed, 72, 96, 3) for seed in range(3)], axis=-1)
    cv2.imwrite(str(tmp_path / "keys" / "0.png"), wide[6:70, 4:84][..., ::-1])
    there = to_lab(wide[3:67, 1:81])
    keys = {align: Keys(tmp_path / "keys", align=align) for align in (False, True)}
    error = {
        align: np.abs(key.ab(0, (64, 80), there[0]) - there[1:])[:, 8:-8, 8:-8].mean() for align, key in keys.items()
    }
    assert error[True] < 0.4 * error[False]


@pytest.mark.parametrize(
    ("prepare", "parts"),
    [
        (lambda keys: (keys / "000001.png").rename(keys / "000099.png"), ["000099.png is frame 99", "0 to 10"]),
        (lambda keys: (keys / "000001.png").rename(keys / "first.png"), ["first.png", "no frame number"]),
        (lambda keys: (keys / "000001.png").rename(keys / "4.png"), ["4.png", "same frame"]),
        (lambda keys: cv2.imwrite(str(keys / "000001.png"), films.texture(0)), ["000001.png has no colour"]),
        (lambda keys: cv2.imwrite(str(keys / "000001.png"), np.zeros((48, 90, 3), np.uint8)), ["90x48", "64x48"]),
        (lambda keys: [file.unlink() for file in keys.iterdir()], ["keys holds no frames"]),
    ],
)
def test_mistakes_with_key_frames_are_one_line(tmp_path, film, weights, capsys, prepare, parts):
    prepare(tmp_path / "keys")
    capsys.readouterr()
    status = run(film, "--keyframes", tmp_path / "keys", "--out", tmp_path / "out.mkv", "--ckpt", weights)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert status == 2 and len(lines) == 1 and all(part in lines[0] for part in parts), lines
    assert not (tmp_path / "out.mkv").exists()


def test_other_checkpoints_are_refused(tmp_path):
    with pytest.raises(UserError, match="not a colour network"):
        load_colour(films.write_model(tmp_path / "rtn.safetensors"))


# Training -----------------------------------------------------------------------------------------------------------


def test_samples_are_reproducible_vary_with_the_epoch_and_hide_what_is_not_known():
    clips = ColourClips(None, "train", 4, 4, 48, 0)
    one, again, later = clips[0, 1], clips[0, 1], clips[1, 1]
    assert torch.equal(one["clip"], again["clip"]) and not torch.equal(one["ab"], later["ab"])
    known = one["clip"][:, 3:]
    assert 1 <= known[:, 0, 0, 0].sum() <= 2
    assert torch.equal(one["clip"][:, 1:3], known * one["ab"] / AB_SCALE)


def test_a_scene_says_where_a_pixel_is_in_any_other_frame():
    scene = make_scene(np.random.default_rng(3), "train", 5, 48, 48, 2.0, colour=True, recolour=True)
    assert np.array_equal(scene.between(3, 2)[0], scene.forward_flow[2])
    flow, seen = scene.between(4, 0)
    first, last = (torch.from_numpy(scene.frames[at] / 255).permute(2, 0, 1)[None].float() for at in (0, 4))
    apart = (warp(first, torch.from_numpy(flow)[None]) - last).abs()[0].mean(0).numpy()
    assert seen.mean() > 0.4 and np.median(apart[seen]) < 0.02 < np.median(apart[~seen])


def test_other_colours_leave_the_luma_and_are_not_grey():
    rng = np.random.default_rng(0)
    for image in (rng.random((8, 9), np.float32) * 0.2 + 0.4, rng.random((8, 9, 3), np.float32) * 0.2 + 0.4):
        other = recoloured(rng, image)
        luma = image if image.ndim == 2 else image @ LUMA
        assert np.abs(other @ LUMA - luma).mean() < 0.02 and np.ptp(other, axis=-1).mean() > 0.02


def test_a_folder_of_colour_clips_is_trained_on(tmp_path):
    films.write_folder(tmp_path / "clips" / "a", coloured(6))
    sample = ColourClips(str(tmp_path / "clips"), "train", 2, 4, 32, 0)[0, 0]
    assert sample["clip"].shape == (4, 4, 32, 32) and sample["ab"].abs().max() > 5
    with pytest.raises(UserError, match="no clip in .* has 9 frames"):
        ColourClips(str(tmp_path / "clips"), "train", 2, 9, 32, 0)


def test_training_writes_weights_that_colour(scratch, film):
    small = [
        "--data.samples_per_epoch",
        "3",
        "--data.eval_samples",
        "[1,1]",
        "--data.side",
        "32",
        "--data.num_frames",
        "4",
    ]
    assert train_colour.main([*small, "--trainer.max_epochs", "1", "--name", "small"]) == 0
    folder, given = scratch / "runs" / "small", [film, "--keyframes", scratch / "keys"]
    assert run(*given, "--out", scratch / "a.mkv", "--ckpt", folder) == 0
    assert run(*given, "--out", scratch / "b.mkv", "--ckpt", folder / "version_0" / "colour") == 0
    same_pictures(scratch / "a.mkv", scratch / "b.mkv")
    begun = ColourModule(start=str(folder)).model.state_dict()
    assert all(map(torch.equal, begun.values(), load_colour(folder).state_dict().values()))


def test_confidence_fades_with_every_step_and_with_every_difference():
    key, grey = torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16)
    key[:, 1:] = 1.0
    still = torch.zeros(1, 2, 16, 16)
    state = carry(None, None, key, None)
    assert torch.allclose(state[:, 3:], torch.ones(1))
    for step in range(1, 4):
        state = carry(state, key if step == 1 else grey, grey, still, 0.5, fade=0.9, tolerance=0.2)
        assert torch.allclose(state[:, 3], torch.tensor(0.9**step), atol=1e-6)
        assert torch.allclose(state[:, 4], torch.tensor(0.5**step), atol=1e-6) and torch.allclose(
            state[:, 0], torch.ones(1)
        )
    brighter = grey.clone()
    brighter[:, 0] = 0.2
    fainter = carry(state, grey, brighter, still, fade=0.9, tolerance=0.2)
    assert torch.allclose(fainter[:, 3], 0.9**4 * torch.exp(torch.tensor(-1.0)), atol=1e-6)


def test_beyond_the_frame_the_border_is_carried_with_hardly_any_confidence():
    key, grey = torch.zeros(1, 4, 16, 16), torch.zeros(1, 4, 16, 16)
    key[:, 1:] = 1.0
    flow = torch.zeros(1, 2, 16, 16)
    flow[:, 0] = 4.0
    state = carry(carry(None, None, key, None), key, grey, flow)
    assert (
        torch.allclose(state[:, 0], torch.ones(1)) and state[..., 12:][:, 3:].max() < 1e-2 < state[:, 3, :, :12].min()
    )
