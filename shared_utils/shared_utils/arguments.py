"""What the user typed, made ready for the parser, and the parser's complaints made into one sentence.

Everything here is text: neither torch nor Lightning is imported, so that a wrong argument is answered at once.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from shared_utils import UserError


def underscored(arguments: Sequence[str]) -> list[str]:
    """``--batch-size=4`` as ``--batch_size=4``: names with dashes and with underscores are the same."""
    written = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name.startswith("--") and name != "--":
            name = "--" + name[2:].replace("-", "_")
        written.append(name + equals + value)
    return written


def named(arguments: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """The arguments with every name written out: bare flags, and the first required parameter given without its name.

    ``--compare`` is ``--compare true``; ``FILE --out FOLDER`` is ``--file FILE --out FOLDER``; ``--size 192,320``, of
    several values, is ``--size [192,320]``.
    """
    hints = get_type_hints(function)
    flags = {f"--{name}" for name, hint in hints.items() if hint is bool}
    alone = {"--debug", "--help", "-h", "--print_config"}
    required = [name for name, known in inspect.signature(function).parameters.items() if known.default is known.empty]
    named: list[str] = []
    rest = list(arguments)
    loose: list[str] = []
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-") or _is_number(argument):
            loose.append(argument)
        elif "=" in argument or argument in alone or argument.startswith("--print_config"):
            named.append(argument)
        elif argument in flags and (not rest or rest[0].lower() not in ("true", "false")):
            named += [argument, "true"]
        else:
            named.append(argument)
            if rest and not rest[0].startswith("--"):
                named.append(rest.pop(0))
    given = {argument.partition("=")[0] for argument in named}
    if loose and required and f"--{required[0]}" not in given:
        named = [f"--{required[0]}", loose.pop(0), *named]
    named = _bracketed(named, {f"--{name}" for name, hint in hints.items() if _several(hint)})
    if loose:
        first = f"--{required[0]}" if required else ""
        why = f"{first} is given already" if first in given else "every other argument has a name"
        raise UserError(f"unexpected argument {loose[0]}: {why}; see --help")
    return named


def _several(hint: Any) -> bool:
    """Whether a parameter is a list or a tuple, or None or one, and not text."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return str not in kinds and any(get_origin(kind) in (list, tuple) for kind in kinds)


def _bracketed(arguments: Sequence[str], several: set[str]) -> list[str]:
    """Values with commas between, for a parameter that takes several, as the parser wants them."""
    written: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in several and _bare(value):
            argument = f"{name}=[{value}]"
        elif written and written[-1] in several and _bare(argument):
            argument = f"[{argument}]"
        written.append(argument)
    return written


def _bare(value: str) -> bool:
    return "," in value and value[:1] not in "[("


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-\d+(\.\d*)?([eE][-+]?\d+)?", text) is not None


def with_default_config(arguments: Sequence[str], default: Path) -> list[str]:
    """Put ``default`` where ``--config`` has no file after it, and in front where there is no ``--config`` at all."""
    completed: list[str] = []
    for position, argument in enumerate(arguments):
        completed.append(argument)
        following = arguments[position + 1 : position + 2]
        if argument in ("--config", "-c") and (not following or following[0].startswith("-")):
            completed.append(str(default))
    if not any(argument in ("--config", "-c") or argument.startswith("--config=") for argument in completed):
        completed = ["--config", str(default), *completed]
    return completed


def find_configs(arguments: Sequence[str], package: str) -> list[str]:
    """The arguments with every ``--config`` file found and checked, before anything heavy is imported."""
    found: list[str] = []
    for argument in arguments:
        if found and found[-1] in ("--config", "-c"):
            argument = str(find_config(argument, package))
        elif argument.startswith("--config="):
            argument = f"--config={find_config(argument.split('=', 1)[1], package)}"
        found.append(argument)
    return found


def configs_of(package: str) -> Path:
    """The folder of a package's configs."""
    return Path(sys.modules[package].__file__ or "").parent / "configs"


def find_config(name: str, package: str) -> Path:
    """A config file as it is given, else of that name in the package's ``configs`` folder; with good YAML in it."""
    path = Path(name)
    folder = configs_of(package)
    own = folder / path.relative_to("configs") if path.parts[:1] == ("configs",) else folder / path
    if not path.is_file() and not path.is_absolute() and own.is_file():
        path = own
    if path.is_dir():
        raise UserError(f"{name} is a folder: --config takes a YAML file")
    if not path.is_file():
        known = {other.name: place for place in (folder, path.parent) for other in place.glob("*.yaml")}
        near = difflib.get_close_matches(path.name, known, n=1)
        hint = f"did you mean {path.parent / near[0]}?" if near else "check the path"
        raise UserError(f"config {name} not found: {hint}")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{name}{place}: not YAML ({getattr(error, 'problem', error)})") from error
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{name}: a config maps argument names to values, this is a {type(content).__name__}")
    return path


def parse(parser: Any, arguments: list[str]) -> Any:
    """Parse, with the parser's complaints made into one sentence that names the nearest known argument."""
    import jsonargparse

    try:
        return parser.parse_args(arguments)
    except jsonargparse.ArgumentError as error:
        raise UserError(_explain(str(error), parser)) from error


def _explain(message: str, parser: Any) -> str:
    known = sorted({action.dest for action in parser._actions if action.dest not in ("help", "==SUPPRESS==")})
    message = " ".join(message.split())
    unknown = (
        re.search(r"[Uu]nrecognized arguments: --?()([\w.]+)", message)
        or re.search(r"()(?:[Kk]ey|[Oo]ption) '([\w.]+)' is not (?:expected|accepted)", message)
        or re.search(r"Group '([\w.]+)' does not accept (?:nested key|option) '([\w.]+)'", message)
    )
    if unknown:
        name = ".".join(part for part in unknown.groups() if part)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        near = near or difflib.get_close_matches(name.split(".")[-1], [key.split(".")[-1] for key in known], n=1)
        return f"unknown argument {name}" + (f": did you mean {near[0]}?" if near else f"; known: {', '.join(known)}")
    mistyped = re.search(r'Parser key "([\w.]+)":.*(?:Got|Given) value: (.*)$', message)
    if mistyped:
        name, value = mistyped.groups()
        if missing := re.match(r"NestedArg\(key='class_path', val='(.*?)'\)", value):
            return f"{name}: no class {missing[1]}: give its full import path, module and name"
        if expected := _expected(message):
            nested = re.sub(r"NestedArg\(key='(.*?)', val='(.*?)'\)", r"\1: \2", value)
            return f"{name}: expected {expected}, got {nested}"
    return message


_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "dict": "a mapping",
    "list": "a list",
    "tuple": "values with commas between",
}


def _expected(message: str) -> str:
    """What a parser's complaint about a type says was expected, in words; empty where it says something else."""
    classes = re.findall(r"Expected (?:an? )?<class '(?:\w+\.)*(\w+)'>", message)
    choices = [
        choice.strip("' ")
        for group in re.findall(r"Expected a typing.Literal\[(.*?)\]", message)
        for choice in group.split(",")
    ]
    words = [_WORDS[name] for name in dict.fromkeys(classes) if name in _WORDS]
    if choices:
        words.append(f"one of {', '.join(dict.fromkeys(choices))}")
    unknown = [name for name in classes if name not in _WORDS and name != "NoneType"]
    return "" if unknown or not words else " or ".join([*words, *(["null"] if "NoneType" in message else [])])
