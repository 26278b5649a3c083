"""Old films made of clean ones and written to disk, with the truth beside them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from old_films_rtn.data import clips
from old_films_rtn.data.degradation import Degradation, FilmWear
from old_films_rtn.data.drawn import DrawnTextures
from old_films_rtn.data.textures import TemplateTextures
from old_films_rtn.flow import DIS, clip_flows
from old_films_rtn.video.images import fingerprint, write_image
from shared_utils import UserError, distributed, files, work
from shared_utils.logging import progress

PRESETS = {
    "published": Degradation(),
    "film": Degradation(
        sharpen_target=False,
        quality=0.0,
        flicker=False,
        wear=FilmWear(flicker=0.1, weave=0.7, vignette=0.3, grain=0.04, splice=0.2, gate_hair=0.3),
    ),
}


def degrade_folder(
    clean: str | Path,
    out: str | Path,
    preset: str,
    *,
    textures: str | None = None,
    amount: float = 1.0,
    seed: int = 0,
    masks: bool = False,
    flows: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> int:
    """Degrade every clip of ``clean``, each process its share; the number of clips.

    The training target goes to OUT/gt and the degraded frames to OUT/lq; masks, flows: write OUT/mask, OUT/flow, too. The
    other arguments are those of the verb.

    Raises:
        UserError: nothing to degrade, an output inside the input or one that exists, frames that do not fit together.
    """
    source, target = Path(clean).resolve(), Path(out).resolve()
    if target.is_relative_to(source):
        raise UserError(f"--out {out} lies inside {clean}: choose a folder beside it")
    found = clips.find_clips(clean)
    contaminants = DrawnTextures(amount) if textures is None else TemplateTextures(textures)
    job = {
        "clean": fingerprint(path for name in sorted(found) for path in found[name]),
        "preset": preset,
        "textures": textures and str(Path(textures).resolve()),
        "amount": amount,
        "seed": seed,
        "mask": masks,
        "flow": flows,
    }
    with work.begin(out, job, resume=resume, overwrite=overwrite) as done:
        missing = [name for name in sorted(found) if not done.has(name)]
        distributed.barrier()
        for name in progress(distributed.share(missing), "clips"):
            # Of the clip's own name, so that neither the number of processes nor that of clips changes it.
            rng = np.random.default_rng((seed, zlib.crc32(name.encode())))
            frames = np.stack(_frames(found[name]))
            sample = clips.degrade_clip(frames, contaminants, PRESETS[preset], rng)
            _write(target, name, found[name], sample, masks, flows)
            done.mark(name)
        distributed.barrier()
        done.complete()
    return len(found)


def _frames(paths: list[Path]) -> list[np.ndarray]:
    frames = [clips.read_grey(path) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if frame.shape != frames[0].shape:
            raise UserError(f"{path} is of another size than {paths[0]}: a clip has one size")
    return frames


def _write(target: Path, name: str, paths: list[Path], sample: dict[str, Any], masks: bool, flows: bool) -> None:
    def write(kind: str, frames: Iterable[np.ndarray]) -> None:
        for frame, path in zip(frames, paths, strict=True):
            write_image(frame, target / kind / name / f"{path.stem}.png")

    write("lq", _codes(sample["lq"]))
    write("gt", _codes(sample["gt"]))
    if masks:
        write("mask", (sample["mask"][:, 0] * 255).round().byte().numpy())
    if flows:
        forward, backward = clip_flows(DIS(), sample["gt"][None])
        with files.replacing(target / "flow" / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, forward_flow=forward[0].numpy(), backward_flow=backward[0].numpy())


def _codes(clip: Tensor) -> np.ndarray:
    return ((clip[:, 0] + 1) * 127.5).round().clamp(0, 255).byte().numpy()
