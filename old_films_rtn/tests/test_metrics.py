"""Metrics: closed forms, and the values of scikit-image and scikit-learn's definitions on small examples."""

import numpy as np
import pytest
import torch

from old_films_rtn import baselines, metrics
from old_films_rtn.evaluation.clips import Evaluation, Recurrent
from old_films_rtn.models.rtn import RTN
from shared_utils import UserError


def test_psnr_and_ssim_of_equal_images():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert metrics.psnr(image, image) == float("inf") and metrics.ssim(image, image) == pytest.approx(1)
    assert metrics.protocol_psnr(image, image) == float("inf") and metrics.protocol_ssim(image, image) == pytest.approx(
        1
    )


def test_psnr_of_a_constant_difference():
    image = np.full((16, 16), 100, np.uint8)
    assert metrics.psnr(image, image + 10) == pytest.approx(20 * np.log10(255 / 10))
    assert metrics.protocol_psnr(image, image + 10) == pytest.approx(20 * np.log10(255 / 10))


def test_the_two_variants_differ_on_colour():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert abs(metrics.psnr(a, b) - metrics.protocol_psnr(a, b)) > 1


def test_mask_scores_on_a_worked_example():
    truth = np.array([1, 0, 1, 0, 0])
    perfect = metrics.mask_scores(truth.astype(float), truth)
    assert perfect == (1.0, 1.0, 1.0)
    assert metrics.mask_scores(1.0 - truth, truth).auroc == 0
    assert metrics.mask_scores(np.zeros(5), truth).auroc == 0.5
    # Scores .9 .8 .7 .1 .1: of six pairs five and a tie... 1 ranks first, 1 third: (3 + 2) / 6.
    scores = metrics.mask_scores(np.array([0.9, 0.8, 0.7, 0.1, 0.1]), truth)
    assert scores.auroc == pytest.approx(5 / 6)
    assert scores.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert scores.best_iou == pytest.approx(2 / 3)
    assert np.isnan(metrics.mask_scores(np.zeros(3), np.zeros(3)).auroc)


def test_warping_error_is_zero_along_the_motion_and_not_beside_it():
    base = torch.nn.functional.interpolate(torch.rand(1, 1, 8, 10), scale_factor=8, mode="bicubic").clamp(0, 1) * 2 - 1
    clip = torch.cat([base.roll(2 * i, -1) for i in range(3)])[..., 8:-8]
    backward, forward = torch.zeros(2, 2, 2, *clip.shape[-2:])
    backward[:, 0], forward[:, 0] = 2, -2
    assert metrics.warping_error(clip, backward, forward) < 1e-10
    still = torch.zeros_like(backward)
    assert metrics.warping_error(clip, still, still) > 1e-4
    assert metrics.warping_error(clip + 0.2 * torch.randn_like(clip), backward, forward) > 1e-3


def test_flow_that_does_not_return_is_not_valid():
    there, back = torch.zeros(2, 1, 2, 16, 16)
    there[:, 0], back[:, 0] = 3, -3
    assert metrics.flow_valid(there, back)[..., :12].all() and not metrics.flow_valid(there, back)[..., -2:].any()
    assert not metrics.flow_valid(there, -back).any()


def test_colour_that_flickers_is_less_consistent():
    steady = np.full((5, 8, 8, 3), 90, np.uint8)
    flickering = steady.copy()
    flickering[::2] = 140
    assert metrics.colour_consistency(steady) == pytest.approx(0)
    assert metrics.colour_consistency(flickering) > 0.1


def clip_with_a_speck():
    torch.manual_seed(0)
    clean = (
        torch.nn.functional.interpolate(torch.rand(1, 3, 6, 8), scale_factor=8, mode="bilinear")[:, None] * 0.8 - 0.4
    )
    clean = clean.expand(-1, 5, -1, -1, -1)
    dirty = clean.clone()
    dirty[:, 2, :, 20:24, 30:34] = 1
    dirty[:, 0, :, 10:14, 10:14] = 1
    return clean, dirty, torch.zeros(1, 4, 2, 48, 64)


def test_the_temporal_median_removes_what_shows_once_even_at_the_ends():
    clean, dirty, still = clip_with_a_speck()
    assert torch.allclose(baselines.temporal_median(dirty, still, still), clean, atol=1e-6)
    assert torch.equal(baselines.temporal_median(dirty[:, :2], still[:, :1], still[:, :1]), dirty[:, :2])


def test_the_residual_detector_sees_what_shows_once():
    _, dirty, still = clip_with_a_speck()
    found = baselines.residual_map(dirty, still, still)
    assert found[0, 2, 0, 21, 31] > 0.3 and found[0, 1].max() < 1e-4 and found[0, 3].max() < 1e-4


def test_an_evaluation_measures_inside_and_outside():
    clean, dirty, still = clip_with_a_speck()
    mask = (dirty - clean).abs()[0, :, :1].clamp(max=1)
    sample = {
        "key": "a",
        "lq": dirty[0],
        "gt": clean[0],
        "mask": mask,
        "forward_flow": still[0],
        "backward_flow": still[0],
    }
    recurrent = Recurrent(RTN(8, 16, (1,), 1, False).eval())
    methods = {"input": lambda clip, *flows: clip, "ours": recurrent}
    compared = Evaluation(methods, {**recurrent.masks(), "residual": baselines.residual_map})
    compared.add(compared.score(sample))
    given, ours = compared.summary()
    assert given["psnr outside"] == 100 and given["psnr inside"] < 12 and ours["psnr inside"] > given["psnr inside"] + 2
    assert {row["mask"]: row["auroc"] for row in compared.masks()}["mask"] > 0.95


def test_lpips_equals_the_package_of_its_authors():
    lpips = pytest.importorskip("lpips", reason="lpips is not installed (extra lpips)")
    torch.manual_seed(0)
    peer = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    theirs = {f"features.{name.split('.', 1)[1]}": value for name, value in peer.net.state_dict().items()}
    linear = {name: value for name, value in peer.state_dict().items() if name.startswith("lin")}
    a, b = torch.rand(2, 2, 3, 64, 80) * 2 - 1
    assert torch.allclose(metrics.LPIPS(theirs, linear)(a, b), peer(a, b).flatten(), rtol=1e-5)


def test_lpips_of_equal_images_is_zero_and_its_weights_are_never_random():
    torch.manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    state = {f"features.{i}.weight": 0.1 * torch.randn(o, c, k, k) for i, (o, c, k) in shapes.items()}
    state |= {f"features.{i}.bias": torch.zeros(shape[0]) for i, shape in shapes.items()}
    linear = {f"lin{i}.model.1.weight": torch.rand(1, shape[0], 1, 1) for i, shape in enumerate(shapes.values())}
    distance = metrics.LPIPS(state, linear)
    a, b = torch.rand(2, 1, 3, 48, 48) * 2 - 1
    assert distance(a, a) == 0 and distance(a, b) > 0
    with pytest.raises(UserError, match="lin3"):
        metrics.LPIPS(state, {name: value for name, value in linear.items() if "lin3" not in name})
    with pytest.raises(UserError, match="missing"):
        metrics.LPIPS({}, linear)


def test_colourfulness_is_nothing_for_grey_and_grows_with_saturation():
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (8, 9, 1)), 3, axis=2)
    assert metrics.colourfulness(grey) == 0
    red = np.zeros((4, 4, 3))
    red[..., 0] = 100
    assert abs(metrics.colourfulness(red) - 0.3 * np.hypot(100, 50)) < 1e-9
    red[:2] = 0  # the spread of (100, 50) and (0, 0), and .3 of the length of their mean
    assert abs(metrics.colourfulness(red) - (np.hypot(50, 25) + 0.3 * np.hypot(50, 25))) < 1e-9
