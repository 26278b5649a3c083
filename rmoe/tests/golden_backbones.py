"""Adapters of the golden cases of the backbones, through the importers of the published layouts."""

import torch

from rmoe.models import CvTClassifier, SwinBackbone, SwinClassifier, SwinMoE
from rmoe.moe import auxiliary_losses
from rmoe.published import import_backbone, import_classifier, import_swin_moe


def _images(case):
    return torch.from_numpy(case.inputs()["x"])


@torch.no_grad()
def swin_backbone(case):
    config = dict(case.config)
    model = SwinBackbone(window=config.pop("window_size"), **config).eval()
    report = import_backbone(model, {"state_dict": case.state_dict()})
    assert not report.missing and not report.dropped
    return {f"feature{i}": x for i, x in enumerate(model(_images(case)))}


@torch.no_grad()
def swin_classifier(case):
    config = dict(case.config)
    model = SwinClassifier(window=config.pop("window_size"), image_size=config.pop("img_size"), **config).eval()
    import_classifier(model, {"model": case.state_dict()})
    x = model.patch_embed(_images(case))
    outputs = {"patch_embed": x.flatten(1, 2)}
    for stage, layer in enumerate(model.layers):
        _, x = layer(x)
        outputs[f"layer{stage}"] = x.flatten(1, 2)
    pooled = model.forward_features(_images(case))
    return {**outputs, "pooled": pooled, "logits": model.head(pooled)}


@torch.no_grad()
def cvt_classifier(case):
    config = case.config
    model = CvTClassifier(
        config["num_classes"],
        dims=config["DIM_EMBED"],
        num_heads=config["NUM_HEADS"],
        depths=config["DEPTH"],
        drop_path_rate=config["DROP_PATH_RATE"][-1],
    ).eval()
    import_classifier(model, case.state_dict())
    maps, token = model.forward_maps(_images(case))
    logits = model(_images(case))
    # The published code drops the batch dimension of a single image.
    logits = logits.reshape(case.spec["outputs"]["logits"])
    return {**{f"stage{i}": x for i, x in enumerate(maps)}, "cls_token": token, "logits": logits}


@torch.no_grad()
def swin_moe(case):
    config = case.config
    model = SwinMoE(
        config["num_classes"],
        config["img_size"],
        config["embed_dim"],
        config["depths"],
        config["num_heads"],
        config["window_size"],
        [[block for block in blocks if block >= 0] for blocks in config["moe_blocks"]],
        experts=config["num_local_experts"],
        k=config["top_value"],
        capacity_factor=config["capacity_factor"],
        mlp_fc2_bias=config["mlp_fc2_bias"],
    ).eval()
    import_swin_moe(model, {"model": case.state_dict()})
    logits = model(_images(case))
    aux = config["aux_loss_weight"] * auxiliary_losses(model, ("gshard",))["gshard"]
    return {"logits": logits, "aux": aux.reshape(1)}


ADAPTERS = {
    "mmseg.models.backbones.swin_transformer.SwinTransformer": swin_backbone,
    "models.swin_transformer.SwinTransformer": swin_classifier,
    "cls_cvt.ConvolutionalVisionTransformer": cvt_classifier,
    "models.swin_transformer_moe.SwinTransformerMoE (one process)": swin_moe,
}
