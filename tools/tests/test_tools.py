"""The tools behind make: what they run, what they keep, and what they say."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import clean_runs
import page
import pytest
import recipes
import reproduce
import test_all
from matplotlib.figure import Figure

from shared_utils import claim, logging

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = sorted(path.parent.name for path in ROOT.glob("*/pyproject.toml") if path.parent.name != "shared_utils")


def test_every_project_has_its_line_for_the_demo_and_the_claims():
    entries = tomllib.loads((ROOT / "tools" / "projects.toml").read_text())
    assert sorted(entries) == PROJECTS
    for name in PROJECTS:
        assert set(entries[name]) == {"paper", "job", "demo", "demo_results", "claim", "claim_results"}


# reproduce -----------------------------------------------------------------------------------------------------------


def measured(folder, verdict="holds in 3 of 3", holds=True):
    logging.save_figure(Figure(), folder / "a.png")
    tables = [claim.Table("T", [{"name": "x", "value": 0.001234}])]
    claim.Claim("a < b", holds, verdict, tables, [claim.Figure("a.png", "A")], [0, 1, 2]).write(folder)


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Two projects whose claims are shell commands: "good" copies what ../made holds, "bad" does as well until it may not."""
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    (tmp_path / "tools").mkdir()
    lines = []
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        measured(tmp_path / "made" / name)
        commands = [f"mkdir -p runs && cp -r ../made/{name} runs/claim", "echo the end; test ! -e stop"]
        entry = {"paper": f"Paper of {name}", "claim": commands, "claim_results": "runs/claim"}
        entry |= {
            "demo": ["mkdir -p runs/demo/a/parts && touch runs/demo/a/table.csv runs/demo/a/parts/1.csv"],
            "demo_results": "runs/demo",
        }
        lines += [f"[{name}]", *(f"{key} = {value!r}" for key, value in entry.items())]
    (tmp_path / "tools" / "projects.toml").write_text("\n".join(lines))
    return tmp_path


def shown(workspace):
    return (workspace / "runs" / "reproduce" / "index.html").read_text()


def test_the_page_begins_with_a_table_of_all_claims_and_shows_each_with_its_figures(workspace):
    assert reproduce.main([]) == 0
    text = shown(workspace)
    overview = text[text.index('<table class="claims">') : text.index("<section")]
    assert overview.count("a &lt; b") == 2 and overview.count("data:image/jpeg;base64,") == 2
    assert 'href="#good"' in overview and 'id="good"' in text
    assert text.count("holds in 3 of 3") == 2 and "0.00123" in text and "data:image/png;base64," in text
    assert "seeds 0, 1, 2; 0 s" in text and "http" not in text


def test_a_failed_project_keeps_its_results_and_stops_no_other(workspace, capsys):
    assert reproduce.main([]) == 0
    (workspace / "bad" / "stop").touch()
    for name in ("bad", "good"):
        measured(workspace / "made" / name, verdict="holds in 9 of 9")
    assert reproduce.main([]) == 1
    text = shown(workspace)
    assert text.count("holds in 3 of 3") == 1 and text.count("holds in 9 of 9") == 1
    assert "the run failed" in text and "the end" in text and "Below are the results from before it." in text
    assert claim.Claim.read(workspace / "bad" / "runs" / "claim").verdict == "holds in 3 of 3"
    assert claim.Claim.read(workspace / "bad" / "runs" / "claim.failed").verdict == "holds in 9 of 9"
    assert "failed: bad:" in capsys.readouterr().err
    (workspace / "bad" / "stop").unlink()
    assert reproduce.main(["bad"]) == 0
    assert "the run failed" not in shown(workspace) and shown(workspace).count("holds in 9 of 9") == 2
    assert [path.name for path in (workspace / "bad" / "runs").iterdir()] == ["claim"]


def test_one_project_alone_leaves_the_others_on_the_page(workspace):
    measured(workspace / "bad" / "runs" / "claim", verdict="made by hand", holds=False)
    assert reproduce.main(["good"]) == 0
    assert "made by hand" in shown(workspace) and "does not hold" in shown(workspace)
    shutil.rmtree(workspace / "bad" / "runs")
    assert reproduce.main(["good"]) == 0
    assert "not run yet" in shown(workspace)


def test_a_first_run_that_fails_is_shown_without_results(workspace):
    (workspace / "good" / "stop").touch()
    shutil.rmtree(workspace / "made" / "bad")
    assert reproduce.main([]) == 1
    assert shown(workspace).count("There are no earlier results.") == 2


def test_a_claim_without_its_figure_counts_as_failed(workspace):
    (workspace / "made" / "bad" / "a.png").unlink()
    assert reproduce.main([]) == 1
    assert "left no claim that can be shown" in shown(workspace) and "a.png is not in" in shown(workspace)


def test_a_run_killed_in_between_is_put_right_by_the_next(workspace):
    assert reproduce.main([]) == 0
    folder = workspace / "bad" / "runs" / "claim"
    folder.rename(folder.with_name(".claim.before"))
    (folder / "half").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), reproduce.fresh(folder):
        assert not folder.exists()
        raise ZeroDivisionError
    assert (folder / "claim.json").is_file()


def test_the_demo_says_where_its_tables_are(workspace, capfd):
    assert reproduce.main(["--demo", "good"]) == 0
    printed = capfd.readouterr().out
    assert "  good/runs/demo/a/table.csv" in printed and "parts" not in printed[printed.index("Tables and figures") :]
    assert reproduce.main(["nothing"]) == 2


def test_every_kind_of_figure_is_shown(tmp_path):
    for ending in ("png", "jpg", "svg", "pdf"):
        path = logging.save_figure(Figure(), tmp_path / f"a.{ending}")
        assert "base64" in page.picture(path, "A")


# recipes -------------------------------------------------------------------------------------------------------------


def test_a_recipe_with_something_to_fill_in_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("text\n```bash recipe\necho one\n```\n```bash\nignored\n```\n```bash recipe\necho two\n```\n")
    assert recipes.recipes(readme) == ["echo one\n", "echo two\n"]
    readme.write_text("```bash recipe\npython restore.py <your film.mp4>\n```\n")
    with pytest.raises(ValueError, match="<your film.mp4>"):
        recipes.recipes(readme)


def test_the_install_section_says_what_to_type_first(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# T\n\n## Install\n\n```bash\nfirst way\nanother way\n```\n\n## Use\n```bash recipe\nuse\n```\n")
    assert recipes.install(readme) == "first way"
    readme.write_text("# T\n\n## Install\n\nWords.\n\n```bash recipe\none\ntwo\n```\n")
    assert recipes.install(readme) == "one\ntwo\n"
    readme.write_text("# T\n\n## Use\n```bash recipe\nuse\n```\n")
    with pytest.raises(ValueError, match="no Install section"):
        recipes.install(readme)


def test_recipes_run_in_an_environment_that_only_the_readme_has_made(tmp_path, monkeypatch, capfd):
    readme = "## Install\n```bash recipe\nexport SET_UP=yes\n```\n```bash recipe\n{}\n```\n"
    checks = ['test "$SET_UP" = yes', 'test -z "${VIRTUAL_ENV-}${PYTHONPATH-}"', 'test ! -e "$HOME/.cache"']
    checks += [f'! [[ $PATH == *"{ROOT}"* ]]', "touch made"]
    source = tmp_path / "source"
    (source / "toy").mkdir(parents=True)
    (source / "toy" / "README.md").write_text(readme.format("\n".join(checks)) + "```bash recipe\ntest -e made\n```\n")
    subprocess.run(["git", "init", "-q"], cwd=source, check=True)
    monkeypatch.setattr(recipes, "ROOT", source)
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("VIRTUAL_ENV", str(ROOT / ".venv"))
    monkeypatch.setenv("PATH", f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert recipes.main(["toy"]) == 0
    (source / "toy" / "README.md").write_text(readme.format("false\ntrue"))
    assert recipes.main(["toy"]) == 1
    assert "failed: toy/README.md: false" in capfd.readouterr().out


# test-all ------------------------------------------------------------------------------------------------------------


def test_totals_count_failures_errors_and_skips(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(test_all, "ROOT", tmp_path)
    tests = tmp_path / "toy" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_a.py").write_text(
        "import pytest\ndef test_good(): pass\ndef test_bad(): assert 0\n"
        "def test_skipped(): pytest.skip('no data')\n@pytest.fixture\ndef broken(): raise OSError\ndef test_error(broken): pass\n"
    )
    outcome = test_all.run_tests("toy")
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, 2, 1)
    assert test_all.main(["toy"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "1 passed, 2 failed, 1 skipped" and any("s  toy: test_good" in line for line in printed)
    (tests / "test_a.py").write_text("import nothing_of_that_name\n")
    assert test_all.run_tests("toy").failed == 1
    (tests / "test_a.py").write_text("import os\nos._exit(3)\n")
    outcome = test_all.run_tests("toy")
    assert outcome.failed == 1 and "pytest ended with status 3" in outcome.output


# make ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def spaced(tmp_path):
    """The Makefile and the tools in a folder whose path has a space, with runs and caches."""
    folder = tmp_path / "with space" / "ws"
    (folder / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "tools" / "clean_runs.py", folder / "tools")
    for name in (
        "si_adv/runs/default/version_0",
        "runs/reproduce",
        ".venv/bin",
        "si_adv/si_adv/__pycache__",
        ".ruff_cache",
    ):
        (folder / name).mkdir(parents=True)
    (folder / "si_adv" / "pyproject.toml").touch()
    (folder / "si_adv" / "runs" / "default" / "version_0" / "last.ckpt").write_bytes(b"x" * 2_500_000)
    return folder


def make(folder, *arguments, **options):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "YES", "PROJECT"))
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )


def test_make_help_names_every_target(spaced):
    printed = make(spaced, "help").stdout
    targets = re.search(r"^\.PHONY: (.*)$", (spaced / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert {"setup", "demo", "test", "test-all", "lint", "bench", "reproduce", "recipes", "clean", "clean-runs"} <= set(
        targets
    )
    for target in targets:
        assert f"make {target} " in printed
    assert "projects: si_adv" in printed


def test_clean_keeps_trained_runs(spaced):
    done = make(spaced, "clean")
    assert done.returncode == 0, done.stderr
    assert not (spaced / ".venv").exists() and not (spaced / "si_adv" / "si_adv" / "__pycache__").exists()
    assert not (spaced / ".ruff_cache").exists()
    assert (spaced / "si_adv" / "runs" / "default" / "version_0" / "last.ckpt").is_file()


def test_clean_runs_lists_and_removes_nothing_unasked(spaced):
    done = make(spaced, "clean-runs")
    assert done.returncode and "2 MB  si_adv/runs/default" in done.stdout and "YES=1" in done.stdout
    assert (spaced / "si_adv" / "runs" / "default" / "version_0" / "last.ckpt").is_file()
    assert make(spaced, "clean-runs", "YES=1").returncode == 0
    assert not list(spaced.glob("*/runs/*")) and not list(spaced.glob("runs/*"))


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("", 1), ("no", 1)])
def test_clean_runs_asks_at_a_terminal(spaced, monkeypatch, answer, left):
    monkeypatch.setattr(clean_runs, "ROOT", spaced)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert clean_runs.main(["si_adv"]) == left
    assert len(list((spaced / "si_adv" / "runs").iterdir())) == left
    assert (spaced / "runs" / "reproduce").is_dir()


def test_the_environment_is_made_again_when_what_it_is_made_of_changes(spaced):
    for name in ("pyproject.toml", "constraints.txt"):
        (spaced / name).touch()
    (spaced / ".venv" / ".installed").touch()
    assert make(spaced, "--question", "setup").returncode == 0
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "si_adv/pyproject.toml"):
        os.utime(spaced / name, (4e9, 4e9))
        assert make(spaced, "--question", "setup").returncode == 1, name
        os.utime(spaced / name, (1e9, 1e9))
