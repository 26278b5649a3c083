"""Turn feed-forward layers of a dense model into residual mixtures of experts that compute the same."""

from typing import Any, Literal

from shared_utils import cli


def convert_checkpoint(
    ckpt: str | None = None,
    out: str = "runs/converted",
    arch: str | None = None,
    blocks: list[list[int]] | str = "every2_last2",
    experts: int = 8,
    k: int = 1,
    gate: Literal["straight_through", "normalized", "residual", "prob"] = "straight_through",
    residual_init: str = "zero",
    options: dict[str, Any] = {},  # noqa: B006 (never changed)
    verify: bool = False,
    image_size: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Convert a dense model to a mixture of experts with the same outputs, and prove it.

    Placement, gate, initialisation and all other defaults are ours: the paper does not document them.

    Args:
        ckpt: the dense model: an official, timm or OpenMMLab Swin, a CvT, a released UperNet or (Cascade) Mask R-CNN, a
            run of train.py, an exported folder.
        out: a folder (model.safetensors, config.json), or a file where it ends in .pth or .pt; train.py takes both.
        arch: swin_t, swin_s, swin_b, swin_l or cvt_13, to refuse a file of another architecture.
        blocks: a preset (every2_last2, last2, all, stage4), block numbers by stage ([[],[],[1,3,5],[1]]), or patterns of
            layer names with commas between (layers.2.blocks.[13].mlp).
        experts: of each layer.
        k: experts a token.
        gate: straight_through, normalized and residual keep the function; prob (Switch, tutel) does not.
        residual_init: zero, or noise:s with a number s, which does not keep the function.
        options: other switches of rmoe.ResidualMoE, such as {residual_rank: 16, overflow: next}.
        verify: compare the outputs of both models on noise, print the largest difference, and write nothing unless it is
            at most 1e-5.
        image_size: of a Swin classifier's file, where it is not 32 windows.
        seed: of the routers and of the noise that verify compares on.
        overwrite: replace what is in out.
    """
    from pathlib import Path

    import torch

    from rmoe import conversion, pretrained
    from shared_utils import UserError, files

    files.refuse_existing(out, overwrite)
    given, report = pretrained.load_with_report(ckpt, image_size)
    if arch is not None:
        conversion.check_architecture(given, arch, ckpt or "the bundled model")
    if given.has_experts:
        raise UserError(f"{ckpt or 'the bundled model'} has experts already: give a dense model with --ckpt")
    torch.manual_seed(seed)
    switches = {"experts": experts, "k": k, "gate": gate, "residual_init": residual_init, **options}
    made = conversion.convert_model(given, blocks, **switches)
    if report is not None:
        print(report)
    print(made)
    if verify:
        print(f"largest difference of the outputs: {conversion.verify(made, seed):.2g}")
    is_file = Path(out).suffix in (".pth", ".pt")
    (made.converted.save if is_file else made.converted.save_pretrained)(out)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(convert_checkpoint, argv)
