"""Every command of the workspace behaves alike: ``run`` for a typed function, ``train`` for Lightning training.

A mistake of the user's ends in one line that names the thing and the fix, with exit status 2; Ctrl-C ends with 130;
``--debug`` shows the traceback. Parsing needs neither torch nor Lightning, so ``--help`` and a wrong argument of a verb
answer at once: import what is heavy inside the function that is run.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from shared_utils import UserError, logging

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(function: Callable[..., Any], argv: Sequence[str] | None = None, positional: bool = False) -> int:
    """Call ``function`` with arguments parsed from the command line by its signature and docstring; the exit status.

    ``--config file.yaml`` gives arguments from a file (the command line wins over it), ``--print_config`` shows them.
    positional: required parameters are given without their names, in order.
    """

    def parse_and_call(arguments: list[str]) -> None:
        import jsonargparse

        parser = jsonargparse.ArgumentParser(
            prog=_program(), exit_on_error=False, allow_abbrev=False, description=_summary(function)
        )
        parser.add_argument("--config", action="config", help="a YAML file of these arguments")
        parser.add_argument("--debug", action="store_true", help="on an error, show the traceback")
        parser.add_function_arguments(function, as_positional=positional, sub_configs=False)
        _check_config_files(arguments)
        config = _parse(parser, _with_bare_flags(arguments, function))
        del config["config"], config["debug"]
        call = parser.instantiate(config).as_dict()
        logging.configure()
        function(**call)

    return _guarded(parse_and_call, argv)


def train(
    classes: Callable[[], tuple[type, type]],
    argv: Sequence[str] | None = None,
    *,
    default_config: str | Path,
    links: dict[str, str] | None = None,
    monitor: tuple[str, str] | None = None,
    after: Callable[[Any, Path], None] | None = None,
) -> int:
    """Train by LightningCLI; the exit status.

    classes: returns (LightningModule class, LightningDataModule class); called after the cheap checks, so that it can
        import them.
    default_config: what ``--config`` without a file, or no ``--config``, means.
    links: datamodule attribute -> module argument, e.g. ``{"num_classes": "num_classes"}``.
    monitor: the logged metric that chooses the best checkpoint and its direction, ``("val/accuracy", "max")``.
    after: called with the LightningCLI and the run's folder when training has ended (figures, what to type next).
    """

    def parse_and_train(arguments: list[str]) -> None:
        arguments = with_default_config(arguments, default_config)
        if "--help" in arguments or "-h" in arguments:
            print(_training_help(default_config))
            return
        _check_config_files(arguments)
        from shared_utils.training import run_training

        run_training(
            classes(),
            ["--help" if argument == "--help_all" else argument for argument in arguments],
            program=_program(),
            parse=_parse,
            links=links or {},
            monitor=monitor,
            after=after,
        )

    return _guarded(parse_and_train, argv)


def _with_bare_flags(arguments: Sequence[str], function: Callable[..., Any]) -> list[str]:
    """A truth value may be given by its name alone: ``--compare`` is ``--compare true``."""
    flags = {f"--{name}" for name, hint in get_type_hints(function).items() if hint is bool}
    completed = []
    for position, argument in enumerate(arguments):
        following = arguments[position + 1 : position + 2]
        bare = argument in flags and (not following or following[0].lower() not in ("true", "false"))
        completed += [argument, "true"] if bare else [argument]
    return completed


def with_default_config(arguments: Sequence[str], default: str | Path) -> list[str]:
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


def _guarded(body: Callable[[list[str]], None], argv: Sequence[str] | None) -> int:
    """Run ``body`` on the arguments and turn what the user can mend into one line and an exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        body(arguments)
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is kept", debug, status=130)
    except SystemExit as stop:
        if stop.code in (0, None):
            return 0
        raise
    except UserError as error:
        return _fail(str(error), debug)
    except BrokenPipeError:
        # The reader has gone, as in `... | head`; nothing more can be said, not even by the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno in _NO_SPACE:
            place = f" while writing {error.filename}" if error.filename else ""
            return _fail(f"no space left{place}: free some and run again; what was finished is kept", debug)
        if error.filename is None:
            raise
        fixes = {
            FileNotFoundError: "not found: check the path",
            IsADirectoryError: "is a folder where a file is needed",
            NotADirectoryError: "is a file where a folder is needed",
            PermissionError: "may not be opened: check its permissions",
        }
        return _fail(f"{error.filename} {fixes.get(type(error), f'cannot be used ({error.strerror})')}", debug)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        return _fail(f"out of GPU memory: use a smaller batch ({str(error).splitlines()[0]})", debug)


def _fail(message: str, debug: bool, status: int = 2) -> int:
    if debug:
        traceback.print_exc()
    print(f"{_program()}: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _program() -> str:
    return Path(sys.argv[0]).name or "python"


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n\n")[0]


def _config_files(arguments: Sequence[str]) -> list[str]:
    files = [argument.split("=", 1)[1] for argument in arguments if argument.startswith("--config=")]
    return files + [following for argument, following in pairwise(arguments) if argument in ("--config", "-c")]


def _check_config_files(arguments: Sequence[str]) -> None:
    """Find the commonest mistakes before anything heavy is imported: no such file, a folder, broken YAML."""
    for name in _config_files(arguments):
        path = Path(name)
        if path.is_dir():
            raise UserError(f"{name} is a folder: --config takes a YAML file")
        if not path.is_file():
            near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.yaml")], n=1)
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


def _parse(parser: Any, arguments: list[str]) -> Any:
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
    mistyped = re.search(
        r'Parser key "([\w.]+)":.*Got value: (.*)$|Parser key "([\w.]+)":.*Given value: (.*)$', message
    )
    expected = re.search(r"Expected an? <class '(?:\w+\.)*(\w+)'>", message)
    if mistyped and expected:
        wanted = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(expected[1])
        if wanted:
            either = " or null" if "NoneType" in message else ""
            name, value = (part for part in mistyped.groups() if part is not None)
            return f"{name}: expected {wanted}{either}, got {value}"
    return message


def _training_help(default_config: str | Path) -> str:
    return f"""usage: python {_program()} [--config [FILE] ...] [--KEY VALUE ...]

  --config [FILE]    a YAML file; without a file, and without --config, {Path(default_config).name}; several overlay
  --KEY VALUE        override a key, e.g. --trainer.max_epochs 3
  --print_config     show what would run, with every key and its value
  --resume           continue from the newest good checkpoint of the same run name
  --debug            on an error, show the traceback
  --help_all         every argument of the trainer, the model and the data (loads them: some seconds)

Keys, as they stand in {Path(default_config).name}:

{Path(default_config).read_text().rstrip()}"""
