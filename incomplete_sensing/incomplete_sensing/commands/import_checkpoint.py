"""Bring in a published checkpoint of MOI, EI, REI or deepinv's demo."""

import sys
from typing import Literal

from shared_utils import cli


def import_checkpoint(
    file: str,
    out: str,
    origin: Literal["moi", "ei", "rei", "deepinv"] | None = None,
    operators: str | None = None,
    image_shape: list[int] | None = None,
    residual: bool | None = None,
    circular_padding: bool | None = None,
    cat: bool | None = None,
    compact: Literal[4, 5] | None = None,
    overwrite: bool = False,
) -> None:
    """Import a published checkpoint into a folder that every command here takes as --ckpt. --from is short for --origin.

    Args:
        file: the published .pth or .pth.tar file.
        out: the folder to write (model.safetensors and config.json).
        origin: whose it is, where its entries do not show it.
        operators: the operators it was trained for: a folder of published files, or .npz; without them the network alone.
        image_shape: channels, height, width, where neither operators nor weights determine it.
        residual: of the network, where the file does not say; published: true.
        circular_padding: the same; published: true.
        cat: skip connections; the same; published: true.
        compact: levels that EI's and REI's network runs; published: 4.
        overwrite: replace what is in the folder.
    """
    from incomplete_sensing.operators import read_operators
    from incomplete_sensing.published import import_published
    from shared_utils import files

    files.refuse_existing(out, overwrite)
    given = {"residual": residual, "circular_padding": circular_padding, "cat": cat, "compact": compact}
    options = {name: value for name, value in given.items() if value is not None}
    family = None if operators is None else read_operators(operators, image_shape)
    reconstructor, report = import_published(file, origin, family, image_shape, **options)
    reconstructor.save_pretrained(out)
    print(f"{reconstructor.network_options['name']}: {report}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    arguments = [
        "--origin" + word.removeprefix("--from") if word.partition("=")[0] == "--from" else word for word in arguments
    ]
    return cli.run(import_checkpoint, arguments)
