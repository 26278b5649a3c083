"""A verb in miniature, for the tests of the command line."""

import sys
import time
from pathlib import Path
from typing import Literal

from shared_utils import UserError, cli


def greet(
    name: str = "world",
    times: int = 1,
    mood: Literal["glad", "sad"] = "glad",
    loud: bool = False,
    pause: float | None = None,
    out: Path | None = None,
) -> None:
    """Greet somebody.

    Args:
        name: who is greeted.
        times: how often.
        mood: in which mood.
        loud: whether to shout.
        pause: seconds to wait before.
        out: a file for the greeting.
    """
    if name == "nobody":
        raise UserError("nobody cannot be greeted: give --name")
    if name == "bug":
        raise ZeroDivisionError("a bug")
    if name == "unheard":
        raise BrokenPipeError(32, "Broken pipe")
    if name == "slow":
        print("waiting", flush=True)
        time.sleep(3600)
    text = f"hello {name} ({mood})\n" * times
    time.sleep(pause or 0)
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
