"""A claim of a paper, compared with what was measured: its type, and the file that ``make reproduce`` collects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from shared_utils import UserError, files, logging

FILE_NAME = "claim.json"
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Table:
    """A table of the page: ``rows`` are dictionaries with the same keys in the same order, values plain."""

    title: str
    rows: list[dict[str, Value]]


@dataclass(frozen=True)
class Figure:
    """A picture of the page: ``file`` is relative to the folder of the claim."""

    file: str
    caption: str


@dataclass(frozen=True)
class Claim:
    """What a paper claims, whether the measurements show it, and the evidence.

    Args:
        claim: the paper's claim, a sentence.
        holds: whether what was measured shows it.
        verdict: a sentence with the numbers that decide.
        tables: at least one.
        figures: files that lie in the folder of the claim.
        seeds: the seeds behind the numbers.
    """

    claim: str
    holds: bool
    verdict: str
    tables: list[Table]
    figures: list[Figure] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("claim", "verdict"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"{name} of a claim is a sentence, got {getattr(self, name)!r}")
        if not isinstance(self.holds, bool):
            raise ValueError(f"holds of a claim is true or false, got {self.holds!r}")
        if not self.tables:
            raise ValueError("a claim has at least one table")
        for table in self.tables:
            _check_rows(table)
        if not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in self.seeds):
            raise ValueError(f"seeds of a claim are whole numbers, got {self.seeds!r}")

    def __str__(self) -> str:
        """The claim, its tables and the verdict, as a verb prints them."""
        tables = [logging.table(table.rows, table.title) for table in self.tables]
        holds = "The claim holds" if self.holds else "The claim does not hold"
        return "\n\n".join([self.claim, *tables, f"{holds}: {self.verdict}"])

    def write(self, folder: str | Path) -> Path:
        """Write ``claim.json`` into ``folder``; its path.

        Raises:
            ValueError: a figure is missing in the folder.
        """
        folder = Path(folder)
        for figure in self.figures:
            if not (folder / figure.file).is_file():
                raise ValueError(f"the figure {figure.file} is not in {folder}")
        path = folder / FILE_NAME
        files.write_json(_plain(asdict(self)), path)
        return path

    @classmethod
    def read(cls, path: str | Path) -> Claim:
        """The claim of a file, or of the ``claim.json`` of a folder.

        Raises:
            UserError: missing, damaged, or not a claim.
        """
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        content = files.read_json(path, "claim")
        try:
            return cls(
                claim=content["claim"],
                holds=content["holds"],
                verdict=content["verdict"],
                tables=[Table(**table) for table in content["tables"]],
                figures=[Figure(**figure) for figure in content["figures"]],
                seeds=list(content["seeds"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a claim ({error}): run the project's claim command again") from None


class Finding(NamedTuple):
    """One part of a claim: whether it holds, and a sentence with the numbers that decide."""

    holds: bool
    sentence: str


def verdict(findings: Sequence[Finding]) -> tuple[bool, str]:
    """Whether all parts of a claim hold; the sentences of those that do not, or of all."""
    failed = [finding.sentence for finding in findings if not finding.holds]
    return not failed, "; ".join(failed or [finding.sentence for finding in findings])


def of_findings(
    text: str, findings: Sequence[Finding], tables: Sequence[Table], shown: Sequence[Figure], seeds: Sequence[int]
) -> Claim:
    """A claim of several parts: it holds where all of them do, and its first table lists them."""
    holds, sentence = verdict(findings)
    parts = Table("Parts of the claim", [{"holds": part.holds, "measured": part.sentence} for part in findings])
    return Claim(text, holds, sentence, [parts, *tables], list(shown), list(seeds))


def write_judged(
    judge: Callable[[Sequence[Figure]], Claim], captions: Mapping[str, str], source: str | Path, out: str | Path
) -> Claim:
    """Judge, and write ``claim.json`` and its figures into ``out``; what cannot be judged is refused before that.

    Args:
        judge: the claim with these figures.
        captions: of the figures, by name of their files.
        source: folder of results.
        out: folder of the claim.
    """
    judge(())
    judged = judge(copy_figures(captions, source, out))
    judged.write(out)
    return judged


def conclude(
    write: Callable[[str | Path, str | Path], Claim], source: str | Path, out: str | Path | None, overwrite: bool
) -> None:
    """What a verb ``claim`` does: judge a folder of results, write ``claim.json``, and print the claim.

    Args:
        write: judges a folder and writes into another one, a project's ``write_claim``.
        source: folder of results.
        out: folder of the claim; that of the results where None.
        overwrite: replace an earlier claim in it.

    Raises:
        UserError: there is a claim already, or ``write`` cannot judge.
    """
    folder = Path(out or source)
    files.refuse_existing(folder / FILE_NAME, overwrite)
    print(write(source, folder))
    print(f"wrote {folder / FILE_NAME}")


def write_tables(tables: Sequence[Table], folder: str | Path) -> None:
    """Write tables as ``table_0``, ``table_1``, ... into a folder, and print them."""
    for number, shown in enumerate(tables):
        logging.write_table(shown.rows, Path(folder) / f"table_{number}")
        print(logging.table(shown.rows, shown.title), end="\n\n")


def read_results(path: str | Path, verb: str, command: str, keys: set[str]) -> dict[str, Any]:
    """What a verb has measured: a JSON object with these keys.

    Args:
        path: of the file, in the folder that was the verb's ``--out``.
        verb: its name.
        command: how it is typed (``cli.command``).
        keys: that the object must have.

    Raises:
        UserError: it is not there, or not whole.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} not found: make it with {command} --out {path.parent}")
    content = files.read_json(path, f"result of {verb}")
    if not isinstance(content, dict) or not keys <= set(content):
        raise UserError(f"{path} is not a result of {verb}")
    return content


def copy_figures(captions: Mapping[str, str], source: str | Path, out: str | Path) -> list[Figure]:
    """Copy those figures of ``source/figures`` that are there into ``out/figures``, unless it is the same folder.

    Args:
        captions: of the figures, by name of their files.
        source: folder of results.
        out: folder of the claim.
    """
    shown = []
    for name, caption in captions.items():
        picture, copy = (Path(folder) / "figures" / name for folder in (source, out))
        if picture.is_file():
            if picture.resolve() != copy.resolve():
                with files.replacing(copy) as temporary:
                    temporary.write_bytes(picture.read_bytes())
            shown.append(Figure(f"figures/{name}", caption))
    return shown


def _check_rows(table: Table) -> None:
    if not table.rows:
        raise ValueError(f"the table {table.title!r} has no rows")
    keys = list(table.rows[0])
    for row in table.rows:
        if list(row) != keys:
            raise ValueError(f"the rows of {table.title!r} have different columns: {keys} and {list(row)}")


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's; what is not finite as null, which JSON has."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if not isinstance(value, str | int | float | bool | None) and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
