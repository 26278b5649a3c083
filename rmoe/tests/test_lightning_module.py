"""Training of the three tasks: losses that are named, what is decayed, accumulation, conversion before training."""

import pytest
import pytorch_lightning as pl
import torch

from rmoe.building import Mixture, converted, load_dense, made_backbone
from rmoe.data.datamodule import SegmentationDataModule, UpstreamDataModule
from rmoe.data.detection import DetectionDataModule
from rmoe.lightning_module import DetectionModule, SegmentationModule, UpstreamModule
from rmoe.models import SwinBackbone
from rmoe.moe import convert, moe_layers
from rmoe.optimisation import Recipe, parameter_groups
from shared_utils import UserError

SMALL = Recipe(learning_rate=1e-2, schedule="linear", warmup_steps=2)
EXPERTS = Mixture([[1]], 4, options={"router_init_std": 0.2})


def trainer(steps=2, **options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(accelerator="cpu", max_steps=steps, **{**quiet, **options})


def segmentation(mixture=EXPERTS, **options):
    options = {"backbone": {"name": "mosaic_net"}, "head": "linear", "num_classes": 8, "recipe": SMALL, **options}
    return SegmentationModule(mixture=mixture, **options)


def scenes(**options):
    return SegmentationDataModule(**{"batch_size": 8, "eval_batch_size": 8, "num_train": 16, "num_val": 8, **options})


def test_losses_are_logged_by_name_and_summed():
    module = segmentation(recipe=Recipe(auxiliary_losses={"importance": 0.01, "z": 0.1}, schedule="constant"))
    run = trainer()
    run.fit(module, scenes())
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    balance = 0.01 * logged["train_aux_importance"] + 0.1 * logged["train_aux_z"]
    assert logged["train_loss"] == pytest.approx(logged["train_task_loss"] + balance, rel=1e-5)
    assert 0 <= logged["val_miou"] <= 1 and logged["dropped"] >= 0


def test_the_loss_of_an_evaluation_has_no_auxiliary_part():
    module, batch = segmentation(), next(iter(scenes().val_dataloader()))
    module.eval()
    task = torch.nn.functional.cross_entropy(module(batch["image"]), batch["label"])
    assert float(module._evaluate(batch)) == pytest.approx(float(task), rel=1e-5)


def test_accumulated_batches_count_like_one_of_their_size():
    states = []
    for size, accumulate in ((8, 1), (4, 2)):
        torch.manual_seed(0)
        recipe = Recipe(learning_rate=1e-2, schedule="constant", auxiliary_losses={})
        module = segmentation(mixture=None, recipe=recipe)
        data = scenes(batch_size=size, num_train=8)
        run = trainer(1, accumulate_grad_batches=accumulate, limit_val_batches=0)
        run.fit(module, data)
        states.append(module.state_dict())
    assert all(torch.allclose(value, states[1][name], atol=1e-5) for name, value in states[0].items())


def test_biases_of_experts_routers_and_tables_are_not_decayed():
    model = SwinBackbone(embed_dim=12, depths=(1, 2), num_heads=(1, 2), out_indices=(0, 1))
    convert(model, [[], [1]], experts=3)
    groups = {group["name"]: group for group in parameter_groups(model, 1e-3, 0.1, 2.0, 0.5)}
    by_id = {id(parameter): name for name, parameter in model.named_parameters()}
    named = {name: {by_id[id(p)] for p in group["params"]} for name, group in groups.items()}
    assert all("bias" in name for name in named["experts, no decay"]) and len(named["experts, no decay"]) == 2
    assert {name.rpartition(".")[2] for name in named["experts, decay"]} == {"fc1_weight", "fc2_weight"}
    plain = named["shared, no decay"]
    assert any(name.endswith("router.weight") for name in plain) and any("bias_table" in name for name in plain)
    assert any("norm1.weight" in name for name in plain)
    assert all(name.endswith("weight") and "norm" not in name for name in named["shared, decay"])
    assert groups["experts, decay"]["lr"] == 2e-3 and groups["experts, decay"]["weight_decay"] == 0.5
    assert sum(len(names) for names in named.values()) == len(by_id)


def test_loading_a_dense_model_sets_cores_and_keeps_its_function():
    dense = made_backbone({"name": "mosaic_net"})
    other = converted(made_backbone({"name": "mosaic_net"}), EXPERTS)
    with torch.no_grad():
        for _, layer in moe_layers(other):
            layer.residual.fc1_weight += 1
    load_dense(other, dense.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(dense(images)[0], other.eval()(images)[0], atol=1e-6)


def test_a_checkpoint_says_what_its_model_is():
    content = {}
    segmentation().on_save_checkpoint(content)
    assert list(content["rmoe"]["layers"]) == ["backbone.blocks.1.mlp"]
    assert content["network"]["task"] == "segmentation" and content["network"]["num_classes"] == 8


def test_upernet_trains_on_swin_with_experts():
    small = {"name": "swin_t", "embed_dim": 12, "depths": (1, 1, 2, 2), "num_heads": (1, 2, 3, 6)}
    module = segmentation(Mixture("every2_last2", 4), backbone=small, head="upernet", head_channels=8)
    run = trainer(1)
    run.fit(module, scenes(num_train=8))
    assert float(run.callback_metrics["train_loss_auxiliary"]) > 0


def test_a_detector_trains_on_the_procedural_instances_and_is_scored():
    net = {"name": "mosaic_net", "image_size": 64, "levels": 3}
    options = {"channels": 8, "width": 16, "anchor_scale": 4.0, "proposals": 20, "rpn_samples": 16, "samples": 8}
    sizes = {"min_size": 64, "max_size": 64}
    module = DetectionModule(net, mixture=EXPERTS, detector_options={**options, **sizes}, num_classes=8, recipe=SMALL)
    data = DetectionDataModule(
        policy="flip", num_train=4, num_val=2, mosaic={"instance_size": 64}, batch_size=2, eval_batch_size=2
    )
    run = trainer(2)
    run.fit(module, data)
    logged = run.callback_metrics
    assert {"train_loss_mask", "val_box_ap", "val_mask_ap"} <= set(logged) and torch.isfinite(logged["train_loss"])


def test_a_classifier_tells_domain_and_class():
    module = UpstreamModule({"name": "mosaic_net"}, mixture=EXPERTS, num_classes=(8, 8), recipe=SMALL)
    run = trainer(2)
    run.fit(module, UpstreamDataModule(batch_size=8, num_train=16, num_val=8))
    assert 0 <= float(run.callback_metrics["val_accuracy"]) <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: segmentation(backbone={"name": "resnet"}), "'resnet' is unknown"),
        (lambda: segmentation(backbone={}), "needs a name"),
        (lambda: segmentation(backbone={"name": "mosaic_net", "width": 3}), "width"),
        (lambda: segmentation(Mixture([[7]])), "block"),
        (lambda: segmentation(Mixture([[1]], 2, 3)), "k = 3 experts a token of 2"),
        (lambda: segmentation(weights="x.pth"), "x.pth"),
        (lambda: Recipe(learning_rate=0), "must be positive"),
    ],
)
def test_what_cannot_be_built_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
