"""Make an old film of a clean one, with the truth beside it."""

import sys
from pathlib import Path

from old_films_rtn import commands


def degrade(
    clean: str,
    out: str = "degraded",
    textures: str | None = None,
    seed: int = 0,
    preset: str = "published",
    amount: float = 1.0,
    save_mask: bool = False,
    save_flow: bool = False,
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
        overwrite: replace what is there.
    """
    import zlib

    import cv2
    import numpy as np

    from old_films_rtn.data import clips
    from old_films_rtn.data.degradation import Degradation, FilmWear
    from old_films_rtn.data.textures import DrawnTextures, TemplateTextures
    from shared_utils import UserError, checkpoint, distributed, logging

    presets = {
        "published": Degradation(),
        "film": Degradation(
            sharpen_target=False,
            quality=0.0,
            flicker=False,
            wear=FilmWear(flicker=0.1, weave=0.7, vignette=0.3, grain=0.04, splice=0.2, gate_hair=0.3),
        ),
    }
    if preset not in presets:
        raise UserError(f"--preset {preset} is not known: {', '.join(presets)}")
    source, target = Path(clean).resolve(), Path(out).resolve()
    if target.is_relative_to(source):
        raise UserError(f"--out {out} lies inside {clean}: choose a folder beside it")
    if target.exists() and any(target.iterdir()) and not overwrite:
        raise UserError(f"{out} is not empty: give another folder, or --overwrite")
    found = clips.find_clips(clean)
    contaminants = DrawnTextures(amount) if textures is None else TemplateTextures(textures)

    def write(kind: str, name: str, frames, paths) -> None:
        for frame, path in zip(frames, paths, strict=True):
            encoded = cv2.imencode(".png", frame)[1]
            with checkpoint.replacing(target / kind / name / f"{path.stem}.png") as temporary:
                temporary.write_bytes(encoded.tobytes())

    def as_u8(clip) -> np.ndarray:
        return ((clip[:, 0] + 1) * 127.5).round().clamp(0, 255).byte().numpy()

    with distributed.process_group():
        for name in logging.progress(distributed.share(sorted(found)), "clips"):
            paths = found[name]
            frames = [clips.read_grey(path) for path in paths]
            for path, frame in zip(paths, frames, strict=True):
                if frame.shape != frames[0].shape:
                    raise UserError(f"{path} is of another size than {paths[0]}: a clip has one size")
            # Of the clip's own name, so that neither the number of processes nor that of clips changes it.
            rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
            sample = clips.degrade_clip(np.stack(frames), contaminants, presets[preset], rng)
            write("lq", name, as_u8(sample["lq"]), paths)
            write("gt", name, as_u8(sample["gt"]), paths)
            if save_mask:
                write("mask", name, (sample["mask"][:, 0] * 255).round().byte().numpy(), paths)
            if save_flow:
                from old_films_rtn.flow import DIS, clip_flows

                forward, backward = clip_flows(DIS(), sample["gt"][None])
                with checkpoint.replacing(target / "flow" / f"{name}.npz") as temporary, temporary.open("wb") as file:
                    np.savez_compressed(file, forward_flow=forward[0].numpy(), backward_flow=backward[0].numpy())
        distributed.barrier()
    print(f"wrote {len(found)} clips to {out}")


def main(argv: list[str] | None = None) -> int:
    return commands.run(degrade, argv)


if __name__ == "__main__":
    sys.exit(main())
