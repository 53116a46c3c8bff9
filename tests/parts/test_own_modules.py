"""What loads gridwarden from one file of root's, made of what is installed now: the launcher, and nothing else; hooks, if they can."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import gridwarden
from gridwarden import trusted
from gridwarden.hooks import code_file, install, own_modules
from gridwarden.hooks.pilot import entry
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


def contents(name: str = code_file.LAUNCHER) -> bytes:
    return code_file.contents(str(LIBRARY), code_file.NEEDED[name])


def write(directory: Path, package: Path = LIBRARY / "gridwarden") -> tuple[Path, Path]:
    """The entry, which says what it has loaded instead of launching anything, and its modules."""
    modules, program = directory / "exec.modules", directory / "exec"
    modules.write_bytes(contents())
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
    assert missing == "gridwarden.accounting is not in the file of modules"


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
    assert (done.returncode, done.stdout.split()) == (0, ["3", "True", "False"]), done.stderr


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
    monkeypatch.setattr(own_modules, "version", lambda _, of=own_modules.version: of(str(version)))
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
    before = own_modules.version(str(version))
    monkeypatch.setattr(own_modules, "version", lambda _, of=own_modules.version: of(str(version)))

    def read(path: str, read_file: Callable[[str], bytes] = trusted.read_file) -> bytes:
        version.write_text('__version__ = "2"\n')
        return read_file(path)

    monkeypatch.setattr(trusted, "read_file", read)
    _, made_of, _ = marshal.loads(contents()[code_file.BEGINS :])  # noqa: S302 - made here
    assert made_of == before


def test_after_an_update_nothing_runs_until_hooks_are_installed_again(root_only: Path) -> None:
    package = root_only / "gridwarden"
    package.mkdir()
    (package / "__init__.py").touch()
    os.utime(package / "__init__.py", (1, 1))
    _, program = write(root_only, package)
    done = start(program)
    assert done.returncode == 202
    assert "was updated" in done.stderr and "gridwarden hooks install" in done.stderr


SAID = "print(type(sys.modules['gridwarden.ledger'].__spec__.loader).__name__, *sorted(name for name in sys.modules), sep='\\n')"


@pytest.fixture(scope="module")
def whole() -> bytes:
    return contents(code_file.SLURM)


def hook(directory: Path) -> Path:
    """A program that loads as a prolog does, and says what it has loaded, and how, instead of being one."""
    program = directory / "prolog"
    loading = install.loading(str(LIBRARY), directory / code_file.SLURM, "gridwarden.hooks.slurm.node")
    program.write_text(f"import os, sys\n{loading}{SAID}\n")
    return program


def loaded(program: Path) -> tuple[str, set[str]]:
    done = start(program)
    assert (done.returncode, done.stderr) == (0, ""), done
    how, *names = done.stdout.split()
    return how, {name for name in names if name.startswith("gridwarden")}


def unreadable(path: Path, data: bytes) -> None:
    path.mkdir()


def never_written(path: Path, data: bytes) -> None:
    os.mkfifo(path)


def elsewhere(path: Path, data: bytes) -> None:
    path.with_name("other").write_bytes(data)
    path.symlink_to("other")


def of_a_user(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.chown(path, 1234, 1234)


def writable(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o664)


BROKEN: dict[str, Callable[[Path, bytes], object]] = {
    "absent": lambda _path, _data: None,
    "empty": lambda path, _: path.write_bytes(b""),
    "of another Python": lambda path, data: path.write_bytes(bytes([data[0] ^ 1]) + data[1:]),
    "cut off": lambda path, data: path.write_bytes(data[:-1000]),
    "cut off in the index": lambda path, data: path.write_bytes(data[:2000]),
    "appended to": lambda path, data: path.write_bytes(data + b"more"),
    "of an older layout": lambda path, data: path.write_bytes(b"(b'\\xf3\\r\\r\\n', 1)" + data[12:]),
    "without an index": lambda path, data: path.write_bytes(data[:12] + bytes(len(data) - 12)),
    "without a module": lambda path, data: path.write_bytes(data[:-300_000] + bytes(300_000)),
    "a directory": unreadable,
    "a pipe": never_written,
    "a link": elsewhere,
    "a user's": of_a_user,
    "a group's": writable,
}


def test_a_hook_loads_all_from_its_file_and_nothing_else_than_without_it(root_only: Path, whole: bytes) -> None:
    program = hook(root_only)
    how, ordinary = loaded(program)
    assert how == "SourceFileLoader"
    (root_only / code_file.SLURM).write_bytes(whole)
    assert loaded(program) == ("OwnModules", ordinary)


def test_all_that_a_hook_may_ever_load_is_in_its_file(root_only: Path, whole: bytes) -> None:
    """What an epilog, or a prolog that stops a job, loads later on finds all that it needs in turn."""
    (root_only / code_file.SLURM).write_bytes(whole)
    program = hook(root_only)
    program.write_text(program.read_text() + "for name in sys.meta_path[0]._index:\n    __import__(name)\n")
    how, _ = loaded(program)
    assert how == "OwnModules"
    _, _, index = marshal.loads(whole[code_file.BEGINS :])  # noqa: S302 - made here
    assert {
        "gridwarden.hooks.slurm.controller",
        "gridwarden.prune.payload_recovery",
        "gridwarden.batch.slurm",
    } <= index.keys()


@pytest.mark.parametrize("closed", ["<&-", "2>&-"])
def test_a_child_of_a_hook_without_standard_files_finds_what_it_loads_later(
    root_only: Path, whole: bytes, closed: str
) -> None:
    """It makes them /dev/null, whatever they were."""
    (root_only / code_file.SLURM).write_bytes(whole)
    program = hook(root_only)
    later = "from gridwarden import child\nprint(child.ask(lambda: __import__('gridwarden.off').off.HOOKS, 10))\n"
    program.write_text(program.read_text().replace(SAID, later))
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", INTERPRETER, "-ISB", program]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout == "hooks\n"


@pytest.mark.parametrize("broken", BROKEN)
def test_no_job_fails_for_a_file_of_modules_that_is_not_as_it_was_installed(
    root_only: Path, whole: bytes, broken: str
) -> None:
    BROKEN[broken](root_only / code_file.SLURM, whole)
    how, _ = loaded(hook(root_only))
    assert how == "SourceFileLoader"


def test_a_hook_runs_what_is_installed_now_after_an_update_without_hooks_install(
    root_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_modules, "version", lambda _: (1, b'__version__ = "0.0"\n'))
    (root_only / code_file.SLURM).write_bytes(contents(code_file.SLURM))
    how, _ = loaded(hook(root_only))
    assert how == "SourceFileLoader"
