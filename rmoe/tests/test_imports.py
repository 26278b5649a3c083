"""No module needs what the published models were written with: mmcv, mmdet, mmseg, mmengine, tutel."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rmoe"
FOREIGN = {"mmcv", "mmdet", "mmseg", "mmengine", "tutel"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(source):
    """The top-level packages that a module imports anywhere in it, also inside functions and by name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            named = getattr(node.args[0], "value", None)
            if called in ("import_module", "__import__", "find_spec") and isinstance(named, str):
                found.add(named.split(".")[0])
    return found


@pytest.mark.parametrize(
    "source",
    [
        "import mmcv.ops",
        "def f():\n    from tutel.moe import moe_layer",
        "import importlib\nimportlib.import_module('mmdet.apis')",
        "__import__('mmseg')",
    ],
)
def test_every_way_to_import_is_seen(source):
    assert imported(source) & FOREIGN


def test_the_published_frameworks_are_never_imported():
    assert len(MODULES) > 50, "the package is somewhere else"
    found = {str(path.relative_to(PACKAGE)): imported(path.read_text()) & FOREIGN for path in MODULES}
    assert {name: packages for name, packages in found.items() if packages} == {}
