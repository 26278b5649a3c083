"""Find a person's pictures in a gallery."""

from shared_utils import cli


def search(
    query: str,
    gallery: str,
    ckpt: str | None = None,
    top: int = 10,
    out: str | None = None,
    limit: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> None:
    """Print the nearest pictures of a gallery to each picture of a query, and write a page that shows them.

    Args:
        query: a picture, or a folder of them.
        gallery: a folder of pictures, a CSV list, a data set, a store, or the .npz that extract has made of one (a large
            gallery then answers at once).
        ckpt: the model; the bundled one where not given.
        top: pictures of each.
        out: an .html file with the pictures in it.
        limit: at most this many pictures of the gallery.
        device: auto, cpu, cuda, mps.
        overwrite: replace the file.
    """
    from luperson_nl import extraction, pretrained, searching
    from shared_utils import UserError, distributed, files, logging

    if top < 1:
        raise UserError(f"--top must be at least 1, got {top}")
    if out is not None:
        files.refuse_existing(out, overwrite)
    asked, pictures = extraction.of_anything(query), searching.open_gallery(gallery, limit)
    embedder = pretrained.load(ckpt).to(distributed.choose_device(device))
    found = searching.search(embedder, asked, pictures, top)
    print("\n\n".join(logging.table(one.table(), one.name) for one in found))
    if out is not None:
        searching.write_page(found, asked, pictures, out)
        print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(search, argv)
