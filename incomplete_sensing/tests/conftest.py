import importlib
import os
from pathlib import Path

import pytest

from shared_utils.testing import Processes

# Set before torch loads, as the commands do: MKL's last bits then do not depend on where a matrix lies in memory.
os.environ.setdefault("MKL_CBWR", "AUTO")


@pytest.fixture(scope="session")
def project():
    """The project's folder."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def run():
    """Run a verb in this process, ``run("train", "--config", ...)``; its exit status."""

    def call(verb, *arguments):
        module = importlib.import_module(f"incomplete_sensing.commands.{verb}")
        return module.main([str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="session")
def short():
    """Arguments of a short training on few digits whose runs are kept below ``root``."""

    def arguments(root, epochs=3):
        return (
            *("--trainer.default_root_dir", root, "--trainer.max_epochs", epochs),
            *("--data.num_train", 200, "--data.num_test", 40, "--model.network", "{name: mlp, hidden: [32]}"),
        )

    return arguments


@pytest.fixture(scope="session")
def trained(tmp_path_factory, run, short):
    """The folder of a short training on few digits."""
    root = tmp_path_factory.mktemp("runs")
    assert run("train", "--config", "configs/digits_cs.yaml", *short(root)) == 0
    return root / "digits_cs" / "version_0"


@pytest.fixture
def fails(run, capsys):
    """Check that a command ends with status 2 and one line that holds ``message``."""

    def check(message, verb, *arguments):
        before = capsys.readouterr()
        assert run(verb, *arguments) == 2, before
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
        assert len([line for line in error.splitlines() if ": error: " in line]) == 1

    return check


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes of their own that have what the verbs need already loaded, Lightning excepted."""
    loaded = (
        *("incomplete_sensing.commands.evaluate", "incomplete_sensing.evaluation", "incomplete_sensing.pretrained"),
        *("incomplete_sensing.commands.phase_transition", "incomplete_sensing.phase_diagrams.sweep"),
    )
    return Processes(loaded, tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="session")
def script():
    """Python code that runs the script which its first argument names, with the other arguments, as a shell does."""
    return "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture
def two_processes(project, processes, script):
    """Run a script of the project in two processes of one group, described as torchrun describes it."""

    def launch(*arguments):
        processes.group(script, *arguments, cwd=project)

    return launch
