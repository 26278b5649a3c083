"""Every command of the workspace behaves alike: ``run`` for a typed function, ``train`` for Lightning training.

A mistake of the user's ends in one line that names the thing and the fix, with exit status 2; Ctrl-C ends with 130;
``--debug`` shows the traceback. Parsing needs neither torch nor Lightning, so ``--help`` and a wrong argument of a verb
answer at once: import what is heavy inside the function that is run.
"""

from __future__ import annotations

import ast
import difflib
import errno
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shared_utils import UserError, logging
from shared_utils.arguments import configs_of, find_configs, named, parse, underscored, with_default_config

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run(function: Callable[..., Any], argv: Sequence[str] | None = None, *, default_config: str | None = None) -> int:
    """Call ``function`` with arguments parsed from the command line by its signature and docstring; the exit status.

    Dashes and underscores are the same; the first required parameter may come without its name; a truth value may be
    given by its name alone. ``--config file.yaml`` gives arguments from a file (the command line wins over it),
    ``--print_config`` shows them.

    Args:
        function: the verb; its package's ``configs`` folder is where ``--config`` looks after the working folder.
        argv: the arguments; those of the process where None.
        default_config: the file in ``configs`` that is used without ``--config``, or with no file after it.
    """
    package = function.__module__.split(".")[0]

    def parse_and_call(arguments: list[str]) -> None:
        import jsonargparse

        parser = jsonargparse.ArgumentParser(
            prog=_program(), exit_on_error=False, allow_abbrev=False, description=_summary(function)
        )
        parser.add_argument("--config", action="config", help="a YAML file of these arguments")
        parser.add_argument("--debug", action="store_true", help="on an error, show the traceback")
        parser.add_function_arguments(function, sub_configs=False)
        arguments = underscored(arguments)
        if default_config:
            arguments = with_default_config(arguments, configs_of(package) / default_config)
        arguments = find_configs(named(arguments, function), package)
        config = parse(parser, arguments)
        del config["config"], config["debug"]
        call = parser.instantiate(config).as_dict()
        logging.configure()
        function(**call)

    return _guarded(parse_and_call, argv)


def train(
    classes: Callable[[], tuple[type, type]],
    argv: Sequence[str] | None = None,
    *,
    default_config: str = "default.yaml",
    links: dict[str, str] | None = None,
    monitor: tuple[str, str] | None = None,
    after: Callable[[Any, Path], None] | None = None,
) -> int:
    """Train by LightningCLI; the exit status.

    Args:
        classes: returns (LightningModule class, LightningDataModule class); called after the cheap checks, so that it
            can import them. Its package's ``configs`` folder is where ``--config`` looks after the working folder.
        argv: the arguments; those of the process where None.
        default_config: the file in ``configs`` that ``--config`` without a file, or no ``--config``, means.
        links: datamodule attribute -> module argument, e.g. ``{"num_classes": "num_classes"}``.
        monitor: the logged metric that chooses the best checkpoint and its direction, ``("val/accuracy", "max")``.
        after: called with the LightningCLI and the run's folder when training has ended (figures, what to type next).
    """
    package = classes.__module__.split(".")[0]

    def parse_and_train(arguments: list[str]) -> None:
        arguments = with_default_config(underscored(arguments), configs_of(package) / default_config)
        if "--help" in arguments or "-h" in arguments:
            print(_training_help(configs_of(package) / default_config))
            return
        arguments = find_configs(arguments, package)
        from shared_utils.training import run_training

        run_training(
            classes(),
            ["--help" if argument == "--help_all" else argument for argument in arguments],
            program=_program(),
            parse=parse,
            links=links or {},
            monitor=monitor,
            after=after,
        )

    return _guarded(parse_and_train, argv)


def project(package: str, argv: Sequence[str] | None = None) -> int:
    """``si-adv VERB ...``: the command ``main(argv)`` of ``<package>.commands.<verb>``; the exit status.

    Without a verb, and with ``--help``, the verbs are listed with the first lines of their docstrings.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbs = _verbs(package)
    if not arguments or arguments[0] in ("--help", "-h"):
        width = max(map(len, verbs))
        print(f"usage: {_script(package)} COMMAND [arguments]; COMMAND --help says more\n")
        print("\n".join(f"  {verb.ljust(width)}  {summary}" for verb, summary in verbs.items()))
        return 0
    if arguments[0] == "--version":
        print(f"{_script(package)} {importlib.import_module(package).__version__}")
        return 0
    verb = arguments[0].replace("-", "_")
    if verb not in verbs:
        near = difflib.get_close_matches(verb, verbs, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(verbs)}"
        print(f"{_script(package)}: error: no command {arguments[0]}: {hint}", file=sys.stderr)
        return 2
    global _running
    _running = f"{_script(package)} {verb}"
    try:
        return importlib.import_module(f"{package}.commands.{verb}").main(arguments[1:])
    finally:
        _running = None


def command(verb: str) -> str:
    """How another verb of the project that runs is typed here: ``python attack.py``, or ``si-adv attack``."""
    return f"{_running.split()[0]} {verb}" if _running else f"python {verb}.py"


_running: str | None = None
"""What ``project`` runs, "si-adv attack"; None for a script of its own."""


def _script(package: str) -> str:
    return package.replace("_", "-")


def _verbs(package: str) -> dict[str, str]:
    """The commands of a package with the first line of their docstrings, without importing them."""
    spec = importlib.util.find_spec(f"{package}.commands")
    assert spec is not None and spec.origin is not None, f"{package} has a package of commands"
    folder = Path(spec.origin).parent
    found = {}
    for path in sorted(folder.glob("*.py")):
        if not path.stem.startswith("_"):
            docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
            found[path.stem] = docstring.split("\n")[0]
    return found


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
    return _running or Path(sys.argv[0]).name or "python"


def _summary(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").strip().split("\n\n")[0]


def _training_help(default_config: Path) -> str:
    return f"""usage: python {_program()} [--config [FILE] ...] [--KEY VALUE ...]

  --config [FILE]    a YAML file; without a file, and without --config, {default_config.name}; several overlay
  --KEY VALUE        override a key, e.g. --trainer.max_epochs 3
  --print_config     show what would run, with every key and its value
  --seed N           of every random draw
  --resume           continue from the newest good checkpoint of the same run name
  --debug            on an error, show the traceback
  --help_all         every argument of the trainer, the model and the data (loads them: some seconds)

Keys, as they stand in {default_config.name}:

{default_config.read_text().rstrip()}"""
