"""The workspace keeps its own rules: every project has the same rooms, dependencies are declared, nobody imports a neighbour."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
import recipes

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = sorted(path.parent.name for path in ROOT.glob("*/pyproject.toml"))
PROJECTS = [name for name in MEMBERS if name != "shared_utils"]
# Used where importable, never required, and not on the package index for current Python: no extra can name it.
OPTIONAL = {"pytorch3d", "supervision", "trackers", "tutel"}
# Where the name that is imported differs from the name of the distribution.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "dlib": "dlib-bin",
    "lightning_fabric": "pytorch-lightning",  # in the same wheel
    **{name: f"tenpapers-{name.replace('_', '-')}" for name in MEMBERS},
}
LONGEST = 400  # lines of a file of a package
LONGEST_README = 130


def settings(member):
    return tomllib.loads((ROOT / member / "pyproject.toml").read_text())


def project_table(member):
    return settings(member)["project"]


def names(requirements):
    return {re.split(r"[\s\[<>=!~;]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def distribution(module):
    return DISTRIBUTIONS.get(module, module).lower().replace("_", "-")


def imports(path):
    """(module, whether it is imported only where needed: in a function, or with a missing one handled) in a file."""
    tree = ast.parse(path.read_text())
    later = (ast.FunctionDef, ast.AsyncFunctionDef)
    optional = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, later)
        or (isinstance(outer, ast.Try) and any("ImportError" in ast.unparse(handler) for handler in outer.handlers))
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in optional
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, id(node) in optional
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in optional


def files(member, *patterns):
    return [path for pattern in patterns for path in (ROOT / member).glob(pattern) if ".venv" not in path.parts]


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


# Rooms ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_has_the_rooms_of_the_others(project):
    rooms = ["README.md", "RESULTS.md", "LICENSE", "pyproject.toml", "train.py", "tests/test_golden.py"]
    inside = ["__init__.py", "__init__.pyi", "__main__.py", "py.typed", "configs/default.yaml", "commands/__init__.py"]
    inside += ["commands/train.py", "commands/claim.py", "claim.py", "pretrained.py", "models"]
    missing = [
        name for name in [*rooms, *(f"{project}/{name}" for name in inside)] if not (ROOT / project / name).exists()
    ]
    assert not missing
    assert not (ROOT / project / "configs").exists(), "configs are in the package"


@pytest.mark.parametrize("member", MEMBERS)
def test_no_room_has_a_name_that_says_nothing_or_more_lines_than_can_be_read(member):
    package = ROOT / member / member
    vague = {"utils", "helpers", "common", "misc", "jobs"}
    assert not [str(path.relative_to(ROOT)) for path in package.rglob("*") if path.stem in vague]
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in package.rglob("*.py")}
    assert not {path: lines for path, lines in long.items() if lines > LONGEST}


def verbs(project):
    return sorted(path.stem for path in (ROOT / project / project / "commands").glob("[!_]*.py"))


def same(path, text):
    """Whether a file is this program, however it is laid out."""
    return ast.dump(ast.parse(path.read_text())) == ast.dump(ast.parse(text))


@pytest.mark.parametrize("project", PROJECTS)
def test_every_verb_is_a_script_a_module_and_a_command(project):
    command = project.replace("_", "-")
    assert verbs(project) == sorted(path.stem for path in (ROOT / project).glob("*.py"))
    for verb in verbs(project):
        program = f"import sys\nfrom {project}.commands.{verb} import main\nif __name__ == '__main__': sys.exit(main())"
        docstring, *body = ast.parse((ROOT / project / f"{verb}.py").read_text()).body
        title = ast.literal_eval(docstring.value)
        assert title.replace("-", "_") == f"The command `{command} {verb}`.".replace("-", "_")
        assert [ast.dump(node) for node in body] == [ast.dump(node) for node in ast.parse(program).body], verb
        assert ast.get_docstring(ast.parse((ROOT / project / project / "commands" / f"{verb}.py").read_text())), verb
    main = f'''"""`python -m {project} COMMAND ...`."""
import sys

from shared_utils import cli


def main(argv: list[str] | None = None) -> int:
    """Run a command of the project by its name; the exit status."""
    return cli.project("{project}", argv)


if __name__ == "__main__":
    sys.exit(main())
'''
    assert same(ROOT / project / project / "__main__.py", main)


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("typed", ["train.py", "-m"])
def test_a_python_without_the_environment_answers_in_one_line(project, typed):
    # -S: without the packages that are installed beside this interpreter.
    command = [sys.executable, "-S", typed, *([project] if typed == "-m" else [])]
    done = subprocess.run(command, cwd=ROOT / project, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{project} is not installed in this Python" in done.stderr and "make setup" in done.stderr


@pytest.mark.parametrize("project", PROJECTS)
def test_a_verb_is_a_signature_a_docstring_a_call_and_what_it_prints(project):
    for verb in verbs(project):
        for node in ast.parse((ROOT / project / project / "commands" / f"{verb}.py").read_text()).body:
            if isinstance(node, ast.FunctionDef):
                start = node.body[min(1, len(node.body) - 1)].lineno
                assert node.end_lineno - start < 60, (
                    f"{project} {verb}: {node.name} works, which belongs into the package"
                )


# What is installed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_can_be_published_by_itself(member):
    table, tool = project_table(member), settings(member)["tool"]
    dashed = member.replace("_", "-")
    assert table["name"] == f"tenpapers-{dashed}" and re.fullmatch(r"\d+\.\d+\.\d+", table["version"])
    assert (table["readme"], table["license"], table["license-files"]) == ("README.md", "MIT", ["LICENSE"])
    assert table["requires-python"] == ">=3.11" and table["description"] and table["keywords"]
    versions = [f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)]
    assert set(versions) < set(table["classifiers"])
    assert (ROOT / member / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert tool["hatch"]["build"]["targets"]["wheel"]["packages"] == [member]
    assert (ROOT / member / member / "py.typed").is_file()
    if member != "shared_utils":
        assert table["scripts"] == {dashed: f"{member}.__main__:main"}
        assert tool["uv"]["sources"] == {"tenpapers-shared-utils": {"path": "../shared_utils", "editable": True}}


@pytest.mark.parametrize("member", MEMBERS)
def test_what_is_installed_carries_its_licence_its_readme_and_its_command(member):
    dashed = member.replace("_", "-")
    installed = importlib.metadata.distribution(f"tenpapers-{dashed}")
    assert installed.metadata["License-Expression"] == "MIT" and installed.metadata.get_all("License-File") == [
        "LICENSE"
    ]
    assert any(path.name == "LICENSE" for path in installed.files)
    assert (ROOT / member / "README.md").read_text().splitlines()[0] in installed.metadata.get_payload()
    if member != "shared_utils":
        assert [(script.name, script.value) for script in installed.entry_points] == [
            (dashed, f"{member}.__main__:main")
        ]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_import_of_a_member_is_declared(member):
    table = project_table(member)
    declared = names(table["dependencies"])
    extras = {extra: names(needed) for extra, needed in table.get("optional-dependencies", {}).items()}
    scripts = {path.stem for path in files(member, "*.py", "benchmarks/**/*.py")}
    undeclared = set()
    for path in files(member, f"{member}/**/*.py", "*.py", "benchmarks/*.py"):
        # A folder with the name of an extra is that extra's.
        owned = set(chain(*(extras.get(part, set()) for part in path.relative_to(ROOT / member).parts)))
        for module, optional in imports(path):
            top = module.split(".")[0]
            if top in sys.stdlib_module_names or top in {member, "__future__"} | scripts:
                continue
            allowed = declared | owned | ((set(chain(*extras.values())) | OPTIONAL) if optional else set())
            if distribution(top) not in allowed:
                undeclared.add(f"{path.relative_to(ROOT)}: {top}")
    assert not undeclared


@pytest.mark.parametrize("project", PROJECTS)
def test_who_uses_video_asks_for_it(project):
    used = {module for path in files(project, f"{project}/**/*.py", "benchmarks/*.py") for module, _ in imports(path)}
    requirements = project_table(project)["dependencies"]
    shared = [requirement for requirement in requirements if requirement.startswith("tenpapers-shared-utils")]
    wants = any(module.startswith("shared_utils.video") for module in used)
    assert shared == ["tenpapers-shared-utils[video]" if wants else "tenpapers-shared-utils"]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_declared_dependency_is_imported(member):
    used = {
        distribution(module.split(".")[0])
        for path in files(member, f"{member}/**/*.py", "*.py", "benchmarks/*.py")
        for module, _ in imports(path)
    }
    # Loaded by Lightning when a TensorBoardLogger is made.
    assert names(project_table(member)["dependencies"]) - used <= {"tensorboard"}


# Who may import whom -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_imports_another_project(member):
    others = set(PROJECTS) - {member}
    for path in files(member, "**/*.py"):
        assert not others & {module.split(".")[0] for module, _ in imports(path)}, path


def test_the_import_rules_know_every_project():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert sorted(rules["root_packages"]) == MEMBERS
    independent, forbidden = rules["contracts"]
    assert sorted(independent["modules"]) == PROJECTS == sorted(forbidden["forbidden_modules"])


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_orders_its_rooms_and_has_no_circles(project):
    rules = settings(project)["tool"]["importlinter"]
    assert rules["root_package"] == project and rules["exclude_type_checking_imports"]
    layers, circles = rules["contracts"]
    assert (layers["type"], layers["containers"], layers["exhaustive"]) == ("layers", [project], True)
    assert layers.get("exhaustive_ignores", []) == ["__main__"] and not layers.get("ignore_imports")
    order = [re.split(r"\s*[:|]\s*", layer) for layer in layers["layers"]]
    place = {room: number for number, rooms in enumerate(order) for room in rooms}
    wanted = [room for room in ("commands", "claim", "lightning_module", "data", "models") if room in place]
    assert sorted(wanted, key=place.get) == wanted and place["commands"] == 0
    assert (circles["type"], circles["ancestors"]) == ("acyclic_siblings", [project, f"{project}.**"])
    assert not circles.get("ignore_imports")


# Pages ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", PROJECTS)
def test_a_readme_is_two_screens_and_says_how_to_install_before_anything_is_typed(project):
    text = (ROOT / project / "README.md").read_text()
    assert len(text.splitlines()) <= LONGEST_README
    assert text.index("## Install") < text.index("```")
    assert "No module named" in text and "RESULTS.md" in text and "!" + "[" in text
    assert re.search(r"^@(inproceedings|article|misc)\{", text, re.MULTILINE), "the paper's BibTeX"
    assert "make -C .. setup && source ../.venv/bin/activate" in recipes.install(ROOT / project / "README.md")


@pytest.mark.parametrize("project", PROJECTS)
def test_the_results_have_tables_with_their_commands(project):
    text = (ROOT / project / "RESULTS.md").read_text()
    assert re.search(r"^\|[ :-]+-\|", text, re.MULTILINE) and "python " in text and re.search(r"\bseeds?\b", text)


def test_every_readme_has_recipes_that_can_run():
    for member in PROJECTS:
        assert recipes.recipes(ROOT / member / "README.md"), member
    assert recipes.recipes(ROOT / "README.md")


@pytest.mark.parametrize("member", MEMBERS)
def test_links_and_pictures_of_the_pages_are_there(member):
    for path in files(member, "README.md", "RESULTS.md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
            assert re.match(r"\w+:", target) or (path.parent / target).exists(), f"{path.relative_to(ROOT)}: {target}"


def test_pictures_are_small():
    pictures = [ROOT / name for name in tracked() if name.endswith((".png", ".jpg", ".svg", ".pdf"))]
    assert pictures and not {path.name: path.stat().st_size for path in pictures if path.stat().st_size > 500_000}


def test_the_constraints_are_exact_versions_without_addresses():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 20
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+", line) for line in lines)


def test_nothing_names_a_machine_path_or_a_registry():
    forbidden = re.compile(
        "|".join(["/" + "work/", "pyp" + r"i\.org", "python" + "hosted", "/" + "root/", "npm" + r"js\."])
    )
    for name in tracked():
        path = ROOT / name
        if path.suffix in (".py", ".pyi", ".md", ".toml", ".yaml", ".txt", ".cff", ""):
            assert not forbidden.search(path.read_text()), name
