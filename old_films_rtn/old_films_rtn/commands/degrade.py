"""Make an old film of a clean one, with the truth beside it."""

from shared_utils import cli


def degrade(
    clean: str,
    out: str = "degraded",
    textures: str | None = None,
    seed: int = 0,
    preset: str = "published",
    amount: float = 1.0,
    save_mask: bool = False,
    save_flow: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Degrade every clip of a folder: frames as PNG, with the same folders as the clean ones.

    The training target (sharpened, in grey) goes to OUT/gt, the degraded frames to OUT/lq.

    Args:
        clean: a folder of frames, or of clip folders.
        out: the folder to write.
        textures: scratch templates (noise_data); drawn defects where not given.
        seed: the same seed gives the same film.
        preset: published (its whole chain) or film (defects, slow flicker, gate weave, vignette, grain, splices; no blur).
        amount: of drawn defects.
        save_mask: write OUT/mask, white where a defect hides the frame.
        save_flow: write OUT/flow, the flow by DIS of the clean frames, both directions, as .npz a clip.
        resume: continue an interrupted run into the same folder.
        overwrite: replace what is there.
    """
    from old_films_rtn.data.old_films import PRESETS, degrade_folder
    from shared_utils import UserError, distributed

    if preset not in PRESETS:
        raise UserError(f"--preset {preset} is not known: {', '.join(PRESETS)}")
    with distributed.process_group():
        count = degrade_folder(
            clean,
            out,
            preset,
            textures=textures,
            amount=amount,
            seed=seed,
            masks=save_mask,
            flows=save_flow,
            resume=resume,
            overwrite=overwrite,
        )
    print(f"wrote {count} clips to {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(degrade, argv)
