"""A verb in miniature, for the tests of the command line."""

import sys
from pathlib import Path
from typing import Literal

from shared_utils import UserError, cli


def greet(
    name: str = "world",
    times: int = 1,
    mood: Literal["glad", "sad"] = "glad",
    loud: bool = False,
    out: Path | None = None,
) -> None:
    """Greet somebody.

    Args:
        name: who is greeted.
        times: how often.
        mood: in which mood.
        loud: whether to shout.
        out: a file for the greeting.
    """
    if name == "nobody":
        raise UserError("nobody cannot be greeted: give --name")
    if name == "bug":
        raise ZeroDivisionError("a bug")
    if name == "slow":
        import time

        print("waiting", flush=True)
        time.sleep(30)
    text = f"hello {name} ({mood})\n" * times
    text = text.upper() if loud else text
    if out is None:
        print(text, end="")
    else:
        from shared_utils import checkpoint

        with checkpoint.replacing(out) as temporary:
            temporary.write_text(text)


def main(argv=None) -> int:
    return cli.run(greet, argv)


if __name__ == "__main__":
    sys.exit(main())
