"""Add numbers up."""

from shared_utils import UserError, cli


def add_up(first: float, second: float, scale_by: float = 1.0, negate: bool = False, names: list[str] = []) -> None:  # noqa: B006
    """Add two numbers.

    Args:
        first: a number.
        second: another.
        scale_by: a factor.
        negate: the sum with the other sign.
        names: of the numbers.
    """
    if scale_by == 0:
        raise UserError("scale_by is 0: give another factor")
    print((first + second) * scale_by * (-1 if negate else 1), *names, f"next: {cli.command('other_verb')}")


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    return cli.run(add_up, argv)
