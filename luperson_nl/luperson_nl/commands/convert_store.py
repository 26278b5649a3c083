"""Copy crops from one kind of store to another, or pictures in a known layout into a store."""

from typing import Literal

from shared_utils import cli


def convert_store(
    data: str,
    out: str,
    to: Literal["lmdb", "shards", "folder"] = "lmdb",
    split: Literal["train", "query", "gallery", "all"] = "train",
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Convert a store; pictures stay byte for byte what they are.

    Args:
        data: a store, the authors' lmdb/ with keys.pkl, Market-1501 and its family, id/picture folders, or a CSV list.
        out: folder of the new store.
        to: lmdb, shards (tar files as webdataset reads them), or a folder for each identity.
        split: the part of a data set with parts.
        resume: continue the same conversion.
        overwrite: begin again although out exists.
    """
    from luperson_nl.data import store_conversion
    from luperson_nl.tracklets import reports
    from shared_utils import distributed

    with distributed.process_group():
        store, unreadable = store_conversion.convert(data, out, to, split, resume=resume, overwrite=overwrite)
        if distributed.rank() == 0:
            if unreadable:
                print(f"{unreadable} pictures are missing, empty or not whole, and were left out")
            print(reports.of_store(store))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(convert_store, argv)
