"""Carry the colour of key-frames over a film."""

from typing import Literal

from shared_utils import cli


def colorize(
    film: str,
    keyframes: str | None = None,
    out: str | None = None,
    ckpt: str | None = None,
    carry_only: bool = False,
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
    workers: int = 1,
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
        ckpt: a run of train_colour.py or a checkpoint of it, an exported folder, or a hub id; the small bundled network where
            not given.
        carry_only: carry colour along the flow, without a network that looks for it in the key-frames and corrects it.
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
        workers: processes that share the shots, each with its own memory and, where there are several, its own GPU; the film
            is the same.
        codec: an encoder of FFmpeg's; libx264 where not given. ffv1 (in mkv) is lossless.
        crf: quality of the encoder, lower is better.
        rate: pictures a second of a video made from a folder; 24 where not given.
        resume: go on with an interrupted run.
        overwrite: replace what is at the output.
    """
    arguments = dict(locals())
    from old_films_rtn.inference import plan as plans
    from old_films_rtn.video.io import open_film
    from shared_utils import UserError

    if keyframes is None:
        raise UserError("give --keyframes, a folder with the frames that are in colour")
    if carry_only and ckpt is not None:
        raise UserError("--carry_only uses no network: leave --ckpt out, or --carry_only")
    plan = plans.Plan.of(arguments)
    source = open_film(film)
    target = plans.output_of(source, out, "colour")
    if plans.nothing_to_do(target, source, plan):
        return

    from old_films_rtn import pretrained
    from old_films_rtn.colour.key_frames import Keys
    from old_films_rtn.inference.colouring import Colouring
    from old_films_rtn.inference.pipeline import process_film
    from old_films_rtn.inference.source import Clip

    keys = Keys(keyframes, first_frame + plan.span[0], align)
    colourer = pretrained.Colourer() if carry_only else pretrained.load_colour(ckpt)
    process_film(Colouring(colourer, keys), Clip(source, *plan.span), target, plan)


def main(argv: list[str] | None = None) -> int:
    return cli.run(colorize, argv)
