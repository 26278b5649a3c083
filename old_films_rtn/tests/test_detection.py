"""Networks with a detector: defects are found, filled in, and restored inside the map, on clips, shots and films alike."""

import films
import numpy as np
import pytest
import torch

from old_films_rtn import detection, losses, pretrained
from old_films_rtn.commands import restore
from old_films_rtn.compositing import Compositing
from old_films_rtn.defect_map import defect_share
from old_films_rtn.detection import clip_defects, filled, filled_clip, restored_clip, views
from old_films_rtn.flow import DIS, clip_flows
from old_films_rtn.lightning_module import RestorationModule
from old_films_rtn.models.detector import SEEN, DefectDetector
from old_films_rtn.models.rtn import RTN
from old_films_rtn.streaming import RestorationCell, detect_shot
from old_films_rtn.tiles import padded, tiled
from old_films_rtn.video.io import open_film
from shared_utils import UserError, checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained detector whose bias makes it find about half of the pixels at a threshold of 0.5."""
    path = films.write_model(tmp_path_factory.mktemp("model") / "rtn.safetensors", detector=True)
    restorer = pretrained.load(path)
    frames = np.stack(list(films.moving(5)))
    assert restorer.rtn.detector is not None
    with torch.no_grad():
        clip = as_clip(frames)
        logits = detection.clip_logits(restorer.rtn, clip, *clip_flows(DIS(), clip))
        scale = 2 / logits.std()
        restorer.rtn.detector.out.weight *= scale
        restorer.rtn.detector.out.bias[:] = -scale * (logits + 3).quantile(0.8)
    checkpoint.save_safetensors(restorer.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def dirty():
    """Five frames with a speck in the third and a scratch that lasts."""
    frames = np.stack(list(films.moving(5)))
    frames[2, 10:16, 30:36] = 255
    frames[:, :, 50:53] = 0
    return frames


def as_clip(frames):
    units = np.stack([padded(frame) for frame in frames]).astype(np.float32) / 127.5 - 1
    return torch.from_numpy(units)[None, :, None].expand(-1, -1, 3, -1, -1)


def run(*arguments):
    return restore.main([str(argument) for argument in arguments])


def pictures(path):
    return np.stack([frame.luma for frame in open_film(path).frames()])


# The detector -----------------------------------------------------------------------------------------------------


def test_its_reach_is_far_enough_for_tiles():
    torch.manual_seed(0)
    detector, shown = DefectDetector().eval(), torch.randn(1, SEEN, 512, 32)
    with torch.no_grad():
        whole = detector(shown)
        assert torch.allclose(tiled(detector, [shown], 16, DefectDetector.REACH), whole, atol=1e-5)
    # With weights that do not cancel, whatever is seen has a gradient.
    for parameter in detector.parameters():
        parameter.data.abs_()
    seen = torch.ones(1, SEEN, 512, 32, requires_grad=True)
    detector(seen)[..., 255, :].sum().backward()
    assert seen.grad is not None
    rows = (seen.grad != 0).any(-1)[0, 0].nonzero()
    reach = max(255 - int(rows.min()), int(rows.max()) - 255)
    assert DefectDetector.REACH - 32 <= reach <= DefectDetector.REACH


def test_it_is_shown_what_a_scratch_and_what_the_scene_stands_still_against():
    """A texture that moves by a pixel, and a line that does not."""
    texture = torch.from_numpy(films.texture(0, 32, 70)).float() / 127.5 - 1
    frames = [texture[None, None, :, i : i + 64].clone() for i in range(3)]
    for frame in frames:
        frame[..., 40] = 1
    to_before, to_after = (torch.tensor([step, 0.0]).view(1, 2, 1, 1).expand(1, 2, 32, 64) for step in (1.0, -1.0))
    x, before, after, behind, ahead, unexplained, median, *motion = views(
        frames[1], frames[0], frames[2], to_before, to_after
    )[0]
    assert not (x - before)[:, 40].any() and not (x - after)[:, 40].any()
    scene = torch.ones(64, dtype=torch.bool)
    scene[[0, 39, 40, 41, 63]] = False
    assert (x - behind)[:, scene].abs().max() < 1e-5 and (x - ahead)[:, scene].abs().max() < 1e-5
    assert unexplained[:, 40].min() > 0 and unexplained[:, scene].max() < 1e-5 and median[:, scene].abs().max() < 1e-5
    assert [float(flow.unique()) for flow in motion] == [1 / 8, 0, -1 / 8, 0]
    alone, first = views(x[None, None], None, None, None, None), views(x[None, None], None, frames[2], None, to_after)
    assert torch.equal(alone[0, 1], x) and alone[0, 5].abs().max() < 1e-6 and torch.equal(first[0, 3], first[0, 4])


def test_a_detector_learns_to_tell_defects_and_the_rest_learns_on_filled_clips(dirty):
    torch.manual_seed(0)
    module, seen = RestorationModule(8, 16, (1,), 1, flow="dis", detector=True, crop=32), []
    clip = as_clip(dirty)
    mask = torch.zeros(1, 5, 1, 48, 64)
    mask[..., 50:53], mask[:, 2, :, 10:16, 30:36] = 1, 1
    given = {"lq": clip, "gt": clip, "mask": mask}
    module.rtn.requires_grad_(True)
    parts = [p for name, p in module.rtn.named_parameters() if not name.startswith("detector.")]
    optimizers = [torch.optim.SGD(parts, 0.0), torch.optim.Adam(module.rtn.detector.parameters(), 2e-3)]
    module.optimizers, module.lr_schedulers, module.manual_backward = lambda: optimizers, list, torch.Tensor.backward
    logged, lines = [], []
    module.log_dict = lambda values, **_: logged.append(float(values["train_detection"]))
    inner, fill = module.restore, module.cropped
    module.restore = lambda rtn, batch: seen.append(batch["lq"]) or inner(rtn, batch)

    module.cropped = lambda batch: lines.append(float(batch["lq"][..., 50:53].mean())) or fill(batch)
    for number in range(60):
        module.training_step(given, number)
    assert logged[-1] < 0.2 * logged[0]
    with torch.no_grad():
        found = clip_defects(module.rtn, clip, *clip_flows(DIS(), clip))
    assert found[mask > 0].mean() > 0.8 > 0.2 > found[mask == 0].mean()
    assert lines[0] == -1 and lines[-1] > -0.5 and all(part.shape[-2:] == (32, 32) for part in seen)
    module.hparams["rest"], count = False, len(seen)
    module.training_step(given, 60)
    assert len(logged) == 61 and len(seen) == count
    wrongs = (
        ({"passes": 2}, "model.passes"),
        ({"crop": 20}, "model.crop 20"),
        ({"start": "nowhere"}, "nowhere not found"),
    )
    for wrong, message in wrongs:
        with pytest.raises(UserError, match=message):
            RestorationModule(8, 16, (1,), 1, detector=True, **wrong)


def test_its_loss_is_the_cross_entropy_and_the_missing_overlap():
    true = torch.tensor([True, False, False, False])
    sure = losses.detection_loss(torch.tensor([20.0, -20, -20, -20]), true)
    assert float(sure) < 1e-6
    half = losses.detection_loss(torch.zeros(4), true)
    assert float(half) == pytest.approx(np.log(2) + 0.2 * (1 - (2 * 0.5 + 1) / (2 + 1 + 1)), rel=1e-6)
    assert losses.detection_loss(torch.tensor([-3.0, -20, -20, -20]), true) > half


# Filling in ----------------------------------------------------------------------------------------------------------


def test_a_scratch_is_bridged_sideways_and_dirt_from_all_sides():
    rows, columns = np.mgrid[:40, :60].astype(np.float32)
    plane, hole = rows**2 + 3 * columns, np.zeros((40, 60), np.float32)
    hole[:, 20:24] = 1
    dirty = np.where(hole > 0, 500, plane).astype(np.float32)
    assert np.allclose(filled(dirty, hole), plane, atol=1e-3)  # a ramp along every row
    speck = np.zeros((40, 60), np.float32)
    speck[10:14, 30:34] = 1
    slope = 2 * rows + 3 * columns
    assert np.allclose(filled(np.where(speck > 0, 0, slope).astype(np.float32), speck), slope, atol=1e-3)


def test_only_defects_and_their_neighbours_are_filled_and_a_frame_of_nothing_else_is_left():
    noise = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    hole = np.zeros((30, 30), np.float32)
    hole[:5, 3:9] = 0.7
    after = filled(noise, hole)
    touched = np.zeros((30, 30), bool)
    touched[:6, 2:10] = True
    assert np.array_equal(after[~touched], noise[~touched]) and (after[touched] != noise[touched]).mean() > 0.9
    assert after[touched].min() >= noise.min() and after[touched].max() <= noise.max()
    assert filled(noise, hole, 0.8) is noise and filled(noise, np.ones((30, 30), np.float32)) is noise


# Clips, shots and films -----------------------------------------------------------------------------------------------


def test_a_shot_is_searched_as_its_clip_is(model, dirty):
    rtn, clip = pretrained.load(model).rtn, as_clip(dirty)
    with torch.no_grad():
        expected = clip_defects(rtn, clip, *clip_flows(DIS(), clip))
    finished = []
    found = list(
        detect_shot(RestorationCell(rtn, tile=32), list(clip.unbind(1)), DIS(), chunk=2, on_chunk=finished.append)
    )
    assert [each.index for each in found] == [0, 1, 2, 3, 4] and finished == [2, 4, 5]
    assert torch.allclose(torch.stack([each.probability for each in found], 1), expected, atol=1e-5)
    (last,) = detect_shot(RestorationCell(rtn), list(clip.unbind(1)), DIS(), finished=4)
    assert last.index == 4 and torch.allclose(last.probability, expected[:, 4], atol=1e-5)


def test_a_clip_is_restored_from_what_is_filled_in_inside_the_map(model, dirty, monkeypatch):
    rtn, clip = pretrained.load(model).rtn, as_clip(dirty)
    defects = torch.zeros(1, 5, 1, 48, 64)
    defects[..., 50:53] = 1
    monkeypatch.setattr(detection, "clip_defects", lambda *_: defects)
    with torch.no_grad():
        flows = clip_flows(DIS(), clip)
        restored, forward_mask, _, found = restored_clip(rtn, clip, flows, DIS())
        whole = filled_clip(clip, defects)
        output, expected_mask, _ = rtn(whole, *clip_flows(DIS(), whole))
    assert torch.equal(found, defects) and torch.equal(forward_mask, expected_mask)
    assert torch.allclose(restored[..., 49:54], output[..., 49:54], atol=1e-6)
    assert torch.equal(restored[..., :40], clip[..., :40])
    assert (clip[..., 50:53] == -1).all() and (whole[..., 50:53] > -1).all()


def test_a_film_is_restored_as_its_frames_are_and_what_lies_outside_the_map_is_bit_equal(tmp_path, model, dirty):
    films.write_folder(tmp_path / "in", dirty)
    restorer = pretrained.load(model)
    options = ["--ckpt", model, "--mask-threshold", 0.6, "--dedup", "off", "--cuts", "off", "--device", "cpu"]
    for passes in (1, 2):
        out, masks = tmp_path / f"out_{passes}", tmp_path / f"masks_{passes}"
        assert run(tmp_path / "in", "--out", out, "--masks", masks, "--passes", passes, *options) == 0
        how = Compositing(mask_threshold=0.6)
        restored, defects = restorer(dirty, how, passes=passes)
        assert np.array_equal(pictures(out), restored) and np.array_equal(pictures(masks), defects)
        assert np.array_equal(restored[defects == 0], dirty[defects == 0])
        assert 0.02 < (defects > 0).mean() < 0.98 and (restored[defects == 255] != dirty[defects == 255]).mean() > 0.5
    assert not np.array_equal(pictures(tmp_path / "out_1"), pictures(tmp_path / "out_2"))
    assert restorer.passes == 1 and np.array_equal(restorer(dirty, Compositing(mask_threshold=1.1))[0], dirty)


def test_a_map_that_is_given_is_what_is_filled_in(tmp_path, model, dirty):
    """A detector that finds nothing, and a scratch that is painted into the map by hand."""
    films.write_folder(tmp_path / "in", dirty)
    drawn = np.zeros((48, 64), np.uint8)
    drawn[:, 49:54] = 255
    films.write_folder(tmp_path / "map", [drawn])
    assert run(tmp_path / "in", "--out", tmp_path / "out", "--ckpt", model, "--mask", tmp_path / "map" / "1.png") == 0
    after = pictures(tmp_path / "out")
    assert np.array_equal(after[..., drawn[0] == 0], dirty[..., drawn[0] == 0])
    assert (dirty[..., 50:53] == 0).all() and (after[..., 50:53] > 20).mean() > 0.95


def test_the_map_of_a_clip_is_soft_at_its_edge_and_nothing_far_away():
    found = torch.zeros(1, 1, 1, 32, 32)
    found[..., 16, 16] = 0.9
    share = defect_share(found, 0.5)
    assert (share[..., 15:18, 15:18] == 1).all() and not share[..., :10, :].any() and 0 < share[..., 16, 19] < 1


def test_a_network_says_itself_that_it_has_a_detector(tmp_path, model):
    restorer = pretrained.load(model)
    assert restorer.detects and restorer.rtn.options["detector"]
    restorer.save_pretrained(tmp_path / "out")
    assert pretrained.load(tmp_path / "out").detects
    assert not pretrained.Restorer(RTN(width=16, depths=(1,), num_heads=1)).detects
