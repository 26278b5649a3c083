"""deepinv beside ours, where it is installed (pip install "incomplete_sensing[peer]")."""

import re

import pytest
import torch

from incomplete_sensing.deepinv_adapter import PhysicsModel, as_physics, from_physics
from incomplete_sensing.losses import (
    cross_operator,
    equivariance,
    equivariant_splitting,
    measurement_consistency,
    recorrupt,
    robust_splitting,
    splitting,
    splitting_weight,
    weighted_splitting,
)
from incomplete_sensing.operators import (
    DenseOperators,
    MaskOperators,
    MRIOperators,
    MultiCoilMRIOperators,
    OperatorOptions,
    draw_operators,
)
from incomplete_sensing.physics_report import announce_verdict, assess
from incomplete_sensing.reconstructor import Reconstructor
from incomplete_sensing.sure import NoiseLevel, sure_gaussian
from incomplete_sensing.transforms import GROUPS
from shared_utils import UserError

deepinv = pytest.importorskip("deepinv", reason="deepinv is not installed", exc_type=ImportError)


def _pairs():
    torch.manual_seed(0)
    sensing = deepinv.physics.CompressedSensing(m=12, img_size=(1, 5, 6))
    mask = (torch.rand(3, 6, 8) < 0.6).float()
    columns = (torch.rand(9, 12) < 0.5).float()
    maps = torch.complex(*torch.randn(2, 3, 9, 12))
    return {
        "sensing": (sensing, DenseOperators(sensing._A[None], (1, 5, 6))),
        "inpainting": (deepinv.physics.Inpainting((3, 6, 8), mask=mask), MaskOperators(mask[None], (3, 6, 8))),
        "mri": (deepinv.physics.MRI(mask=columns, img_size=(2, 9, 12)), MRIOperators(columns[None], (2, 9, 12))),
        "multi-coil": (
            deepinv.physics.MultiCoilMRI(mask=columns, coil_maps=maps[None], img_size=(2, 9, 12)),
            MultiCoilMRIOperators(columns[None], maps),
        ),
    }


@pytest.mark.parametrize("name", ["sensing", "inpainting", "mri", "multi-coil"])
def test_operators_agree(name):
    physics, family = _pairs()[name]
    x = torch.rand(2, *family.image_shape)
    y = family(x, 0)
    assert torch.allclose(physics.A(x), y, atol=1e-5)
    assert torch.allclose(physics.A_adjoint(y), family.adjoint(y, 0), atol=1e-5)
    if name != "multi-coil":  # theirs is approximate
        assert torch.allclose(physics.A_dagger(y), family.pinv(y, 0), atol=1e-4)


@pytest.fixture
def setting():
    """(our family, their physics, f of ours, their model, y of operator 0)."""
    torch.manual_seed(0)
    family = draw_operators(OperatorOptions("mask", 2, keep=0.6), (1, 8, 6))
    physics = [deepinv.physics.Inpainting((1, 8, 6), mask=family.masks[g]) for g in range(2)]
    network = torch.nn.Conv2d(1, 1, 3, padding=1)

    class Model(torch.nn.Module):
        def forward(self, y, physics, **options):
            return network(physics.A_adjoint(y))

    y = family(torch.rand(3, 1, 8, 6), 0)
    return family, physics, lambda y, g: network(family.adjoint(y, g)), Model(), y


def test_losses_agree(setting):
    family, physics, f, model, y = setting
    x1 = f(y, 0)
    theirs = deepinv.loss.MCLoss()(x_net=x1, y=y, physics=physics[0])
    assert torch.allclose(measurement_consistency(x1, y, family, 0), theirs.mean())
    theirs = deepinv.loss.MOILoss([physics[1]])(x_net=x1, physics=physics[0], model=model)
    assert torch.allclose(cross_operator(x1, f, family, 1), theirs.mean())

    class Transform:
        def __call__(self, images):
            return GROUPS["shift"].apply(images, [(2, -1), (1, 3)])

    transformed = Transform()(x1)
    theirs = deepinv.loss.EILoss(Transform())(x_net=x1, physics=physics[0], model=model)
    assert torch.allclose(equivariance(transformed, f, family, 0), theirs.mean())
    theirs = deepinv.loss.MOEILoss(Transform(), [physics[1]])(x_net=x1, physics=physics[0], model=model)
    assert torch.allclose(equivariance(transformed, f, family, 1), theirs.mean())
    generator = torch.Generator().manual_seed(1)
    theirs = deepinv.loss.SureGaussianLoss(0.1, rng=generator)(y=y, x_net=x1, physics=physics[0], model=model)
    probe = torch.empty_like(y).normal_(generator=torch.Generator().manual_seed(1))
    ours = sure_gaussian(x1, y, f, family, 0, 0.1, probe=probe, num_measurements=y[0].numel()).loss
    assert torch.allclose(ours, theirs, rtol=1e-4)


def test_splitting_agrees(setting):
    family, physics, f, model, y = setting
    loss = deepinv.loss.SplittingLoss(split_ratio=0.6, normalize_loss=False)
    adapted = loss.adapt_model(model)
    adapted.train()
    estimate = adapted(y, physics[0], update_parameters=True)
    given = adapted.get_mask() * family.observed(0)
    target = family.observed(0) - given
    theirs = loss(x_net=estimate, y=y, physics=physics[0], model=adapted)
    assert torch.allclose(f(given * y, 0), estimate, atol=1e-6)
    assert torch.allclose(splitting(estimate, y, family, 0, target, normalise=False), theirs.mean(), rtol=1e-5)


def test_unsure_agrees(setting):
    family, physics, f, model, y = setting
    generator, ours = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    loss = deepinv.loss.SureGaussianLoss(0.2, unsure=True, step_size=0.1, rng=generator)
    level = NoiseLevel(0.2, 0.1)
    model.train()
    for _ in range(3):
        x1 = model(y, physics[0])
        theirs = loss(y=y, x_net=x1, physics=physics[0], model=model)
        probe = torch.empty_like(y).normal_(generator=ours)
        found = sure_gaussian(x1, y, f, family, 0, level.sigma, probe=probe, num_measurements=y[0].numel())
        level.ascend(found)
        assert torch.allclose(found.loss, theirs, rtol=1e-3, atol=1e-5)
        assert abs(level.variance - float(loss.sigma2)) < 1e-5


def test_r2r_agrees(setting):
    family, physics, f, model, y = setting
    loss = deepinv.loss.R2RLoss(noise_model=deepinv.physics.GaussianNoise(0.1), alpha=0.3)
    adapted = loss.adapt_model(model)
    adapted.train()
    estimate = adapted(y, physics[0], update_parameters=True)
    noisier = adapted.get_corruption()
    noise = (noisier - y) / (0.3 / 0.7) ** 0.5
    given, target = recorrupt(y, noise, 0.3)
    assert torch.allclose(given, noisier, atol=1e-6)
    theirs = loss(x_net=estimate, y=y, physics=physics[0], model=adapted)
    assert torch.allclose(measurement_consistency(f(given, 0), target, family, 0), theirs, rtol=1e-5)


def test_equivariant_splitting_agrees(setting):
    family, physics, f, model, y = setting
    loss = deepinv.loss.EquivariantSplittingLoss(img_size=(1, 8, 6))
    adapted = loss.adapt_model(model)
    adapted.train()
    estimate = adapted(y, physics[0], update_parameters=True)
    given = loss._splitting_model_mapping[adapted].get_masks()[0] * family.observed(0)
    theirs = loss(x_net=estimate, y=y, physics=physics[0], model=adapted).mean()
    assert torch.allclose(equivariant_splitting(f(given * y, 0), y, family, 0, given), theirs, rtol=1e-4)


@pytest.fixture
def accelerated():
    """k-space through one column mask, and deepinv's generators for it and for the splits: (family, physics, f, model, y)."""
    from deepinv.physics.generator import GaussianMaskGenerator, MultiplicativeSplittingMaskGenerator

    torch.manual_seed(0)
    masks = GaussianMaskGenerator((8, 16), acceleration=2)
    splits = MultiplicativeSplittingMaskGenerator((1, 8, 16), GaussianMaskGenerator((8, 16), acceleration=2))
    mask = masks.step(1)["mask"]
    family = MRIOperators(mask[:, 0, 0], (2, 8, 16))
    physics = deepinv.physics.MRI(mask=mask, img_size=(2, 8, 16))
    network = torch.nn.Conv2d(2, 2, 3, padding=1)

    class Model(torch.nn.Module):
        def forward(self, y, physics, **options):
            return network(physics.A_adjoint(y))

    y = family(torch.rand(1, 2, 8, 16), 0)
    return masks, splits, family, physics, Model(), y


def test_weighted_and_robust_splitting_agree(accelerated):
    masks, splits, family, physics, model, y = accelerated
    weighted = deepinv.loss.mri.WeightedSplittingLoss(splits, masks)
    weight = weighted.metric.weights[16]
    observed, share = masks.average()["mask"].flatten(0, -2)[0], splits.average()["mask"].flatten(0, -2)[0]
    # Theirs estimates both frequencies from draws; ours takes one share for all entries.
    kept = (observed > 0.05) & (observed < 0.95) & (share < 0.95)
    for place in kept.nonzero()[:, 0].tolist():
        ours = splitting_weight(observed[place], float(share[place]))
        assert abs(float(ours) / float(weight[0, place]) - 1) < 0.1
    adapted = weighted.adapt_model(model)
    adapted.train()
    estimate = adapted(y, physics, update_parameters=True)
    given = adapted.get_masks()[0] * family.observed(0)
    theirs = weighted(x_net=estimate, y=y, physics=physics, model=adapted).mean()
    target = family.observed(0) - given
    assert torch.allclose(weighted_splitting(estimate, y, family, 0, target, weight), theirs, rtol=1e-4)

    robust = deepinv.loss.mri.RobustSplittingLoss(splits, masks, deepinv.physics.GaussianNoise(0.1), alpha=0.75)
    adapted = robust.adapt_model(model)
    adapted.train()
    estimate = adapted(y, physics, update_parameters=True)
    given = adapted.get_masks()[-1] * family.observed(0)
    theirs = robust(x_net=estimate, y=y, physics=physics, model=adapted).mean()
    weight = robust.metric.weights[16]
    assert torch.allclose(robust_splitting(estimate, y, family, 0, given, weight, 0.75), theirs, rtol=1e-4)


def test_their_operators_serve_as_ours():
    for physics, family in list(_pairs().values())[:3]:
        wrapped = from_physics([physics], family.image_shape)
        x = torch.rand(2, *family.image_shape)
        y = wrapped(x, 0)
        assert torch.allclose(y, family(x, 0), atol=1e-5)
        assert torch.allclose(wrapped.pinv(y, torch.tensor([0, 0])), family.pinv(y, 0), atol=1e-4)


def test_our_operators_and_network_serve_as_theirs():
    family = draw_operators(OperatorOptions("gaussian", 2, 10), (1, 4, 4))
    physics = as_physics(family, 1)
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    x = torch.rand(2, 1, 4, 4)
    assert abs(float(physics.adjointness_test(x))) < 1e-3
    reconstructor = Reconstructor.of(family, {"name": "mlp", "hidden": [8]})
    y = physics.A(x)
    assert torch.allclose(PhysicsModel(reconstructor)(y, physics), reconstructor(y, 1), atol=1e-6)


def test_physics_are_assessed():
    physics = [
        deepinv.physics.CompressedSensing(m=9, img_size=(1, 4, 4), rng=torch.Generator().manual_seed(g))
        for g in range(5)
    ]
    answer = assess(physics, k=3)
    assert answer.identified is True and "C1: rank [A_1; ...; A_G] = 16 of n = 16: holds" in str(answer)
    assert assess(physics[0], k=3).identified is False
    assert assess(physics[0], k=1, transform=deepinv.transform.Shift()).identified is True
    # k from y: a plane, seen through one operator.
    y = physics[0].A((torch.randn(300, 2) @ torch.randn(2, 16)).reshape(-1, 1, 4, 4))
    assert re.match(r"k estimated from 300 measurements: (1\.9|2\.[01]), in \[", str(assess(physics, data=y)))


def test_masks_of_theirs_are_tested_as_masks():
    """Exactly, at a size where they are too large for matrices."""
    torch.manual_seed(0)
    masks = [deepinv.physics.Inpainting((3, 96, 96), mask=0.5) for _ in range(3)]
    answer = assess(masks, k=5)
    missed = int((~(sum(one.mask for one in masks) > 0)).sum())
    assert missed > 100 and f"masks: {missed} entries are seen by no operator" in str(answer)
    columns = [deepinv.physics.MRI(mask=(torch.rand(1, 40) < 0.5).float().expand(32, 40), img_size=(2, 32, 40))]
    assert "coefficients are seen by no operator" in str(assess(columns, k=5))


def test_their_trainer_prints_the_verdict(capsys):
    physics = deepinv.physics.Inpainting((1, 8, 8), mask=0.5)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = torch.nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, y, physics, **options):
            return self.network(physics.A_adjoint(y))

    model = Model()
    trainer = deepinv.Trainer(
        model=model,
        physics=physics,
        losses=deepinv.loss.MCLoss(),
        optimizer=torch.optim.Adam(model.parameters()),
        train_dataloader=torch.utils.data.DataLoader(torch.rand(4, 1, 8, 8), batch_size=2),
        online_measurements=True,
        epochs=1,
        save_path=None,
        show_progress_bar=False,
    )
    announce_verdict(trainer, k=3)
    trainer.train()
    printed = capsys.readouterr().out
    assert printed.count("your operators: not identified") == 1


def test_what_cannot_be_is_said():
    with pytest.raises(UserError, match="k not given"):
        assess(deepinv.physics.CompressedSensing(m=9, img_size=(1, 4, 4)))
    with pytest.raises(UserError, match="not a group"):
        assess(deepinv.physics.CompressedSensing(m=9, img_size=(1, 4, 4)), k=2, transform=deepinv.transform.Rotate())
    with pytest.raises(UserError, match="at least one"):
        from_physics([], (1, 4, 4))
    with pytest.raises(UserError, match="differ in shape"):
        from_physics([deepinv.physics.CompressedSensing(m=m, img_size=(1, 4, 4)) for m in (3, 4)], (1, 4, 4))
