"""All verbs of all projects speak one language. Their signatures are walked, and each project's shell is tried once."""

import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin, get_type_hints

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(path.parent.name for path in ROOT.glob("*/pyproject.toml") if path.parent.name != "shared_utils")
VERBS = [(name, path.stem) for name in PROJECTS for path in sorted((ROOT / name / name / "commands").glob("[!_]*.py"))]
FORBIDDEN = {
    *("checkpoint", "checkpoints", "weights_file", "model_path", "output", "out_dir", "input", "input_file"),
    *("force", "max_frames", "num_items", "gpu"),
}
TYPES = {
    "ckpt": (str | None,),
    "data": (str, str | None),
    "out": (str, str | None),
    "resume": (bool,),
    "overwrite": (bool,),
    "device": (str,),
    "limit": (int, int | None),
    "seed": (int,),
    "seeds": (int, str, list[int], list[int] | None, str | None),
}
DEFAULTS = {"ckpt": None, "resume": False, "overwrite": False, "device": "auto"}
HEAVY = ("torch", "pytorch_lightning", "torchmetrics", "torchvision")


def function_of(project, verb):
    """The typed function behind a verb; None for one that trains by Lightning's own parser."""
    module = importlib.import_module(f"{project}.commands.{verb}")
    source = inspect.getsource(module)
    if "cli.train(" in source:
        return None
    passed = re.search(r"cli\.run\(\s*(\w+)", source)
    return getattr(module, verb if callable(getattr(module, verb, None)) else passed[1])


def signature_of(project, verb):
    function = function_of(project, verb)
    if function is None:
        pytest.skip("trains: its arguments are those of Lightning and of the classes")
    return inspect.signature(function).parameters, get_type_hints(function)


def plain(hint):
    """A hint with ``Optional`` and ``|`` written alike."""
    if get_origin(hint) in (Union, UnionType):
        kinds = get_args(hint)
        return frozenset(kinds)
    return hint


@pytest.mark.parametrize(("project", "verb"), VERBS)
def test_the_words_of_a_verb_mean_what_they_mean_elsewhere(project, verb):
    parameters, hints = signature_of(project, verb)
    assert not FORBIDDEN & set(parameters)
    for name, kinds in TYPES.items():
        if name in parameters:
            assert plain(hints[name]) in [plain(kind) for kind in kinds], f"{name}: {hints[name]}"
    for name, default in DEFAULTS.items():
        if name in parameters:
            assert parameters[name].default == default, name
    if "seed" in parameters:
        assert isinstance(parameters["seed"].default, int)
    assert set(hints) >= set(parameters), "every parameter has a type"


@pytest.mark.parametrize(("project", "verb"), VERBS)
def test_a_verb_that_writes_never_overwrites_unasked(project, verb):
    parameters, _ = signature_of(project, verb)
    if "out" in parameters:
        assert "overwrite" in parameters
    if "resume" in parameters:
        assert {"out", "overwrite"} <= set(parameters)


@pytest.mark.parametrize(("project", "verb"), VERBS)
def test_every_parameter_of_a_verb_is_explained(project, verb):
    function = function_of(project, verb)
    if function is None:
        pytest.skip("trains")
    text = inspect.getdoc(function)
    parameters = inspect.signature(function).parameters
    assert text and not {name for name in parameters if not re.search(rf"^\s*\*?{name}\b.*:", text, re.MULTILINE)}


@pytest.mark.parametrize("project", PROJECTS)
def test_checkpoints_are_imported_and_exported_alike(project):
    parameters, hints = signature_of(project, "import_checkpoint")
    assert list(parameters)[:2] == ["file", "out"] and {"overwrite"} <= set(parameters)
    assert hints["file"] is str and hints["out"] is str
    assert [name for name in parameters if parameters[name].default is inspect.Parameter.empty] == ["file", "out"]
    if (project, "export") in VERBS:
        parameters, _ = signature_of(project, "export")
        assert list(parameters)[:2] == ["ckpt", "to"] and {"out", "overwrite"} <= set(parameters)
        assert "kind" not in parameters and "format" not in parameters


@pytest.mark.parametrize("project", PROJECTS)
def test_neither_the_package_nor_help_loads_what_is_heavy(project):
    code = f"""
import contextlib, importlib, io, json, pkgutil, sys
import {project}
loaded = {{"import {project}": sorted(set(sys.modules) & {set(HEAVY)!r})}}
import {project}.commands
for verb in [module.name for module in pkgutil.iter_modules({project}.commands.__path__)]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            status = importlib.import_module("{project}.commands." + verb).main(["--help"])
        except SystemExit as end:
            status = end.code
    loaded[verb] = sorted(set(sys.modules) & {set(HEAVY)!r})
    assert not status and "--" in printed.getvalue(), (verb, status)
print(json.dumps(loaded))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "tools")
    assert done.returncode == 0, done.stderr[-2000:]
    assert not {what: names for what, names in json.loads(done.stdout).items() if names}


@pytest.mark.parametrize("project", PROJECTS)
def test_the_first_required_argument_needs_no_name(project, tmp_path, capsys):
    main = importlib.import_module(f"{project}.commands.import_checkpoint").main
    missing = str(tmp_path / "missing.pth")
    for arguments in ([missing, "--out", str(tmp_path / "o")], ["--out", str(tmp_path / "o"), f"--file={missing}"]):
        assert main(arguments) == 2
        assert "missing.pth not found" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("project", PROJECTS)
def test_dashes_and_underscores_are_the_same(project, capsys):
    tried = 0
    for verb in [verb for name, verb in VERBS if name == project]:
        function = function_of(project, verb)
        hints = get_type_hints(function) if function else {}
        name = next((name for name in hints if "_" in name and plain(hints[name]) in (int, float)), None)
        if name is None:
            continue
        for written in (name, name.replace("_", "-")):
            assert importlib.import_module(f"{project}.commands.{verb}").main([f"--{written}", "no number"]) == 2
            complaint = capsys.readouterr().err
            assert "no number" in complaint and "unknown argument" not in complaint and complaint.count("\n") == 1
        tried += 1
    if not tried:
        pytest.skip("no verb has a number whose name has two words")


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_lists_its_verbs(project, capsys):
    assert importlib.import_module(f"{project}.__main__").main([]) == 0
    listed = capsys.readouterr().out
    for verb in [verb for name, verb in VERBS if name == project]:
        assert re.search(rf"^  {verb}\s+\S", listed, re.MULTILINE), verb


@pytest.mark.parametrize("project", PROJECTS)
def test_what_make_runs_are_verbs_with_their_own_arguments(project):
    entry = tomllib.loads((ROOT / "tools" / "projects.toml").read_text())[project]
    for command in entry["demo"] + entry["claim"]:
        verb = re.match(r"python (\w+)\.py\b", command)[1]
        assert (project, verb) in VERBS, command
        function = function_of(project, verb)
        given = {name.replace("-", "_") for name in re.findall(r"--([\w.-]+)", command)} - {"config"}
        if function:
            assert given <= set(inspect.signature(function).parameters), command
        else:
            own = {"seed", "seed_everything", "name", "resume"}
            assert {name for name in given if "." not in name} <= own, command
