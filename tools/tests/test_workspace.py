"""The workspace keeps its own rules: dependencies are declared, nobody imports a neighbour, recipes can run."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import recipes  # noqa: E402
import reproduce  # noqa: E402
import test_all  # noqa: E402

# Used where importable, never required, and not on the package index for current Python: no extra can name it.
OPTIONAL = {"pytorch3d"}
MEMBERS = sorted(path.parent.name for path in ROOT.glob("*/pyproject.toml"))
PROJECTS = [name for name in MEMBERS if name != "shared_utils"]
# Where the name that is imported differs from the name of the distribution.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
}


def project_table(member):
    return tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.split(r"[\s\[<>=!~;]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


def imports(path):
    """(top-level module, whether a missing one is handled) of every import in a file."""
    tree = ast.parse(path.read_text())
    optional = {
        id(node)
        for attempt in ast.walk(tree)
        if isinstance(attempt, ast.Try) and any("ImportError" in ast.unparse(handler) for handler in attempt.handlers)
        for node in ast.walk(attempt)
    }
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found = [node.module]
        for name in found:
            yield name.split(".")[0], id(node) in optional


def files(member, *folders):
    return [path for folder in folders for path in (ROOT / member).glob(folder) if ".venv" not in path.parts]


@pytest.mark.parametrize("member", MEMBERS)
def test_every_import_of_a_member_is_declared(member):
    table = project_table(member)
    declared = names(table["dependencies"])
    extras = names(chain(*table.get("optional-dependencies", {}).values()))
    scripts = {path.stem for path in files(member, "*.py", "benchmarks/*.py")}
    undeclared = set()
    for path in files(member, f"{member}/**/*.py", "*.py", "benchmarks/*.py"):
        for module, optional in imports(path):
            distribution = DISTRIBUTIONS.get(module, module).lower().replace("_", "-")
            if module in sys.stdlib_module_names or module in {member, "__future__"} | scripts:
                continue
            if distribution not in declared and not (
                (optional or module in OPTIONAL) and distribution in extras | OPTIONAL
            ):
                undeclared.add(f"{path.relative_to(ROOT)}: {module}")
    assert not undeclared


@pytest.mark.parametrize("member", MEMBERS)
def test_every_declared_dependency_is_imported(member):
    used = {
        DISTRIBUTIONS.get(module, module).lower().replace("_", "-")
        for path in files(member, f"{member}/**/*.py", "*.py", "benchmarks/*.py")
        for module, _ in imports(path)
    }
    # Loaded by Lightning when a TensorBoardLogger is made.
    assert names(project_table(member)["dependencies"]) - used <= {"tensorboard"}


@pytest.mark.parametrize("member", MEMBERS)
def test_no_member_imports_another_project(member):
    others = set(PROJECTS) - {member}
    for path in files(member, "**/*.py"):
        assert not others & {module for module, _ in imports(path)}, path


def test_the_import_rules_know_every_project():
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert sorted(rules["root_packages"]) == MEMBERS
    independent, forbidden = rules["contracts"]
    assert sorted(independent["modules"]) == PROJECTS == sorted(forbidden["forbidden_modules"])


def test_every_project_has_its_line_for_the_demo_and_the_claims():
    entries = tomllib.loads((ROOT / "tools" / "projects.toml").read_text())
    assert sorted(entries) == PROJECTS
    for name in PROJECTS:
        assert set(entries[name]) == {"paper", "job", "demo", "demo_results", "claim", "claim_results"}


def test_the_constraints_are_exact_versions_without_addresses():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 20
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.+]+", line) for line in lines)


def test_every_readme_has_recipes_that_can_run():
    for member in PROJECTS:
        assert recipes.recipes(ROOT / member / "README.md"), member
    assert recipes.recipes(ROOT / "README.md")


def test_a_recipe_with_something_to_fill_in_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("text\n```bash recipe\necho one\n```\n```bash\nignored\n```\n```bash recipe\necho two\n```\n")
    assert recipes.recipes(readme) == ["echo one\n", "echo two\n"]
    readme.write_text("```bash recipe\npython restore.py <your film.mp4>\n```\n")
    with pytest.raises(ValueError, match="<your film.mp4>"):
        recipes.recipes(readme)


def test_the_page_shows_a_claim_with_its_figures_inline(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    folder = tmp_path / "toy" / "runs" / "claim"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"picture")
    (folder / "claim.json").write_text(
        '{"claim": "a < b", "holds": true, "verdict": "holds in 3 of 3", "seeds": [0, 1, 2],'
        ' "tables": [{"title": "T", "rows": [{"name": "x", "value": 0.001234}]}],'
        ' "figures": [{"file": "a.png", "caption": "A"}]}'
    )
    entry = {"paper": "P", "claim": ["true"], "claim_results": "runs/claim"}
    page = reproduce.page([reproduce.section("toy", entry, 3.0)])
    assert "a &lt; b" in page and "holds in 3 of 3" in page and "0.00123" in page
    assert 'src="data:image/png;base64,cGljdHVyZQ=="' in page
    assert "http" not in page


def test_totals_count_failures_errors_and_skips(tmp_path, monkeypatch):
    monkeypatch.setattr(test_all, "ROOT", tmp_path)
    tests = tmp_path / "toy" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_a.py").write_text(
        "import pytest\ndef test_good(): pass\ndef test_bad(): assert 0\n"
        "def test_skipped(): pytest.skip('no data')\n@pytest.fixture\ndef broken(): raise OSError\ndef test_error(broken): pass\n"
    )
    assert test_all.run_tests("toy")[:3] == (1, 2, 1)
    (tests / "test_a.py").write_text("import nothing_of_that_name\n")
    assert test_all.run_tests("toy")[:2] == (0, 1)


def test_make_help_names_every_target():
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "test", "test-all", "lint", "bench", "reproduce", "recipes"):
        assert f"make {target} " in printed


def test_nothing_names_a_machine_path_or_a_registry():
    listed = (
        subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    )
    forbidden = re.compile(
        "|".join(["/" + "work/", "pyp" + r"i\.org", "python" + "hosted", "/" + "root/", "npm" + r"js\."])
    )
    for name in filter(None, listed):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".txt", ".cff", "") and path.is_file():
            assert not forbidden.search(path.read_text()), name
