"""Carry the colour of key-frames over a film."""

import sys
from typing import Literal

from old_films_rtn import commands


def colorize(
    film: str,
    keyframes: str | None = None,
    out: str | None = None,
    ckpt: str | None = None,
    first_frame: int = 0,
    align: bool = False,
    flow: str = "auto",
    cuts: str = "auto",
    frames: str | None = None,
    chunk: int | None = None,
    lookahead: int | None = None,
    tile: int | None = None,
    memory: float = 4.0,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
    device: str = "auto",
    codec: str | None = None,
    crf: int = 16,
    rate: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Carry the colour of key-frames over a film: its luma stays as it is, no colour crosses a cut.

    Args:
        film: a video file or a folder of frames.
        keyframes: a folder of frames in colour; the first number in a name is the frame's, 000874.png is frame 874.
        out: video file or folder; FILM_colour beside the film where not given.
        ckpt: a checkpoint of train_colour.py, whose network corrects what the flow carries; where not given, colour is only
            carried.
        first_frame: the number that the film's first frame has in the names of the key-frames.
        align: move the colours of a key-frame to where the film has what they belong to: for key-frames from another scan.
        flow: auto or dis (OpenCV), raft:FILE or none.
        cuts: auto, off, or a CSV of first frames.
        frames: a part of the film, first:end, for example 100:200; key-frames keep their numbers.
        chunk: frames whose states are in memory; the result does not depend on it.
        lookahead: frames behind a chunk that the backward recurrence sees; to the end of the shot where not given.
        tile: side of the tiles of the transformer, in pixels; exact.
        memory: GB that states and transformer may take together.
        precision: of the network; flow and coordinates are always fp32.
        device: auto, cpu, cuda, mps.
        codec: an encoder of FFmpeg's; libx264 where not given. ffv1 (in mkv) is lossless.
        crf: quality of the encoder, lower is better.
        rate: pictures a second of a video made from a folder; 24 where not given.
        resume: go on with an interrupted run.
        overwrite: replace what is at the output.
    """
    from pathlib import Path

    from old_films_rtn.inference import settings
    from old_films_rtn.video.io import open_film
    from shared_utils import UserError

    if keyframes is None:
        raise UserError("give --keyframes, a folder with the frames that are in colour")
    source = open_film(film)
    target = Path(out) if out else settings.default_output(source.path, "colour")
    if settings.nothing_to_do(target, source, resume, overwrite):
        return

    from old_films_rtn.colour import Keys
    from old_films_rtn.inference.film import colour_film

    colour_film(
        source,
        target,
        Keys(keyframes, first_frame + settings.span(frames)[0], align),
        ckpt=ckpt,
        flow=flow,
        cuts=cuts,
        span=settings.span(frames),
        chunk=chunk,
        lookahead=lookahead,
        tile=tile,
        memory=memory,
        precision=precision,
        device=device,
        video={"codec": codec, "crf": crf, "rate": rate, "part": frames is not None},
        resume=resume,
        overwrite=overwrite,
    )


def main(argv: list[str] | None = None) -> int:
    return commands.run(colorize, argv)


if __name__ == "__main__":
    sys.exit(main())
