"""A project's commands by name, and the grammar that all verbs share."""

import subprocess
import sys
from pathlib import Path

import pytest
from toy_project.commands import add_up

from shared_utils import cli

TOY = Path(__file__).parent / "toy"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_running", None)


@pytest.mark.parametrize(
    "arguments",
    [
        "--first 1 --second 2",
        "1 --second 2",
        "--second 2 1",
        "--second=2 1",
        "--negate false 1 --second 2",
        "--first=1 --second 2 --scale-by 1",
        "--scale_by=1 1 --second 2",
    ],
)
def test_the_first_required_argument_needs_no_name_and_dashes_are_underscores(arguments, capsys):
    assert add_up.main(arguments.split()) == 0
    assert capsys.readouterr().out == "3.0 next: python other_verb.py\n"


def test_negative_numbers_lists_and_bare_flags(capsys):
    assert add_up.main(["-1.5", "--second", "-2", "--names", "[a, b]", "--negate"]) == 0
    assert capsys.readouterr().out.startswith("3.5 a b")


@pytest.mark.parametrize("names", [["--names", "a,b"], ["--names=a,b"], ["--names", "[a,b]"]])
def test_several_values_need_no_brackets(names, capsys):
    assert add_up.main(["1", "--second", "2", *names]) == 0
    assert capsys.readouterr().out.startswith("3.0 a b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("1 2", "unexpected argument 2: every other argument has a name; see --help"),
        ("1 --first 1 --second 2", "unexpected argument 1: --first is given already; see --help"),
        ("--second 2", "first"),
        ("1 --second", "second"),
        ("1 --second 2 --scale-byte 3", "unknown argument scale_byte: did you mean scale_by?"),
        ("1 --second 2 --scale-by 0", "scale_by is 0"),
        ("1 --config configs/twice.yaml", "config configs/twice.yaml not found"),
        ("1 --config configs/doubel.yaml", "did you mean configs/double.yaml?"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_fix(arguments, message, capsys):
    assert add_up.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["configs/double.yaml", "double.yaml"])
def test_a_config_of_the_package_is_found_from_anywhere(name, capsys):
    assert add_up.main(["1", "--config", name]) == 0
    assert capsys.readouterr().out.startswith("22.0")


def test_a_file_of_the_user_wins_over_the_package(capsys):
    Path("double.yaml").write_text("second: 0\n")
    assert add_up.main(["1", "--config=double.yaml"]) == 0
    assert capsys.readouterr().out.startswith("1.0")


@pytest.mark.parametrize("given", [[], ["--config"]])
def test_a_verb_may_have_a_default_config(given, capsys):
    Path("one.yaml").write_text("second: 100\n")  # the default is the package's own, whatever lies here
    assert cli.run(add_up.add_up, [*given, "--first", "1"], default_config="one.yaml") == 0
    assert capsys.readouterr().out.startswith("2.0")


def test_a_project_lists_its_commands_without_importing_them(capsys):
    assert cli.project("toy_project", []) == 0
    assert "add_up  Add numbers up." in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["add_up", "add-up"])
def test_a_project_runs_a_command_and_names_others_as_they_are_typed(verb, capsys):
    assert cli.project("toy_project", [verb, "1", "--second", "2"]) == 0
    assert capsys.readouterr().out == "3.0 next: toy-project other_verb\n"
    assert cli.project("toy_project", [verb, "1", "--scond", "2"]) == 2
    assert capsys.readouterr().err.startswith("toy-project add_up: error: ")


def test_an_unknown_command_and_the_version(capsys):
    assert cli.project("toy_project", ["ad_up"]) == 2
    assert "no command ad_up: did you mean add_up?" in capsys.readouterr().err
    assert cli.project("toy_project", ["--version"]) == 0
    assert capsys.readouterr().out == "toy-project 1.2.3\n"


def test_the_list_of_commands_loads_nothing_heavy():
    code = (
        f"import sys; sys.path.insert(0, {str(TOY)!r}); from shared_utils import cli; cli.project('toy_project', []); "
        "print(sorted(set(sys.modules) & {'torch', 'jsonargparse', 'pytorch_lightning'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("[]\n"), done.stderr
