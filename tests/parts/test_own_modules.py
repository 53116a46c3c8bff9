"""The launcher's entry: it loads gridwarden from one file of root's, made of what is installed now, and from nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gridwarden
from gridwarden import trusted
from gridwarden.hooks.pilot import code_file, entry
from tests.pure.test_layout import LAUNCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the files are root's")
INTERPRETER = os.path.realpath(sys.executable)
LIBRARY = Path(gridwarden.__path__[0]).resolve().parent
RUN = "    from gridwarden.hooks.pilot.start import main\n\n    code = main()\n"
SAY = """\
    from gridwarden.prune.machine import asker
    for batch in ("slurm", "htcondor", "pbs", "torque"):
        asker(batch)
    for name in {names!r}:
        __import__(name)
    from gridwarden.mapper import verify
    print(*(module.__spec__.loader is sys.meta_path[0] for name, module in sys.modules.items() if name[:10] == "gridwarden"))
    print(verify.__file__, verify.__doc__)
    try:
        import gridwarden.accounting
    except ModuleNotFoundError as error:
        print(error, flush=True)
    code = 0
"""


@pytest.fixture
def root_only() -> Iterator[Path]:
    """A directory in and above which nobody but root can write."""
    with tempfile.TemporaryDirectory(dir="/var/lib") as directory:
        yield Path(directory)


def write(directory: Path, package: Path = LIBRARY / "gridwarden") -> tuple[Path, Path]:
    """The entry, which says what it has loaded instead of launching anything, and its modules."""
    modules, program = directory / "exec.modules", directory / "exec"
    modules.write_bytes(code_file.contents(str(LIBRARY)))
    text = entry.text(INTERPRETER, str(package), [], modules)
    assert RUN in text
    program.write_text(text.replace(RUN, SAY.format(names=LAUNCH)))
    return modules, program


def start(program: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INTERPRETER, "-ISB", program], capture_output=True, text=True, check=False)


def test_all_that_a_launch_loads_of_gridwarden_is_in_the_file_and_nothing_comes_from_elsewhere(root_only: Path) -> None:
    _, program = write(root_only)
    done = start(program)
    assert done.returncode == 0, done.stderr
    loaded, module, missing = done.stdout.splitlines()
    assert set(loaded.split()) == {"True"} and loaded.count("True") > len(LAUNCH)
    assert module == f"{LIBRARY / 'mapper/verify.py'} None"  # without its docstring, and with its lines
    assert missing == "gridwarden.accounting is none of the launcher's modules"


def test_what_a_module_imports_as_it_begins_is_loaded_without_being_looked_for(root_only: Path) -> None:
    """Finding each of a hundred modules takes importlib 3 ms of a launch."""
    _, program = write(root_only)
    say = program.read_text()
    counted = """\
    looked_for = []
    importer = type(sys.meta_path[0])
    find = importer.find_spec
    importer.find_spec = lambda *words: looked_for.append(words[1]) or find(*words)
    import gridwarden.hooks.pilot.session
    print(len([name for name in looked_for if name.startswith("gridwarden")]), "gridwarden.hooks.pilot.guard" in sys.modules)
    print("gridwarden.prune.halt" in sys.modules, flush=True)
    code = 0
"""
    program.write_text(say.replace(SAY.format(names=LAUNCH), counted))
    done = start(program)
    assert (done.returncode, done.stdout.split()) == (0, ["4", "True", "False"]), done.stderr


def test_a_file_that_others_could_change_is_not_loaded(root_only: Path) -> None:
    modules, program = write(root_only)
    modules.chmod(0o664)
    done = start(program)
    assert (done.returncode, f"{modules} could be changed by others than root" in done.stderr) == (202, True)
    modules.chmod(0o644)
    os.chown(modules, 1234, 1234)
    assert start(program).returncode == 202
    elsewhere = root_only / "elsewhere"
    os.chown(modules, 0, 0)
    modules.rename(elsewhere)
    modules.symlink_to(elsewhere)
    assert start(program).returncode == 202


def test_an_update_in_which_every_file_keeps_its_time_is_one(root_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on OSTree, and on Nix, where each file is of the first second of 1970."""
    package = root_only / "gridwarden"
    package.mkdir()
    version = package / "__init__.py"
    version.write_text('__version__ = "1"\n')
    os.utime(version, (1, 1))
    monkeypatch.setattr(code_file, "stamp", lambda _, stamp=code_file.stamp: stamp(str(version)))
    _, program = write(root_only, package)
    assert start(program).returncode == 0
    version.write_text('__version__ = "2"\n')
    os.utime(version, (1, 1))
    done = start(program)
    assert (done.returncode, "was updated" in done.stderr) == (202, True)


def test_a_file_made_while_gridwarden_is_updated_is_not_taken_for_one_of_the_new(
    root_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = root_only / "__init__.py"
    version.write_text('__version__ = "1"\n')
    before = code_file.stamp(str(version))
    monkeypatch.setattr(code_file, "stamp", lambda _, stamp=code_file.stamp: stamp(str(version)))

    def read(path: str, read_file: Callable[[str], bytes] = trusted.read_file) -> bytes:
        version.write_text('__version__ = "2"\n')
        return read_file(path)

    monkeypatch.setattr(trusted, "read_file", read)
    assert code_file.contents(str(LIBRARY)).startswith(before)


def test_after_an_update_nothing_runs_until_hooks_are_installed_again(root_only: Path) -> None:
    package = root_only / "gridwarden"
    package.mkdir()
    (package / "__init__.py").touch()
    os.utime(package / "__init__.py", (1, 1))
    _, program = write(root_only, package)
    done = start(program)
    assert done.returncode == 202
    assert "was updated" in done.stderr and "gridwarden hooks install" in done.stderr
