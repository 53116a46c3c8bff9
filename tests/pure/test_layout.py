"""The tree must stay what README and pyproject.toml say it is."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PARTS = ("mapper", "hooks", "prune", "accounting")

ALLOWED = {
    "gridwarden": {"gridwarden"},
    "mapper": {"gridwarden", "mapper"},
    "prune": {"gridwarden", "prune"},
    "accounting": {"gridwarden", "accounting"},
    "hooks": {"gridwarden", "mapper", "prune", "hooks"},
}
"""Which part may import which: who is called by others must not need them."""

MAPPER_VALUES = {"gridwarden.mapper.identity"}
"""What accounting may know of the mapper: values, nothing that decides or acts."""

PROLOG_IMPORTS = {
    "__future__", "_collections_abc", "_json", "_stat", "errno", "fcntl", "genericpath", "os", "os.path",
    "posixpath", "pwd", "stat", "syslog",
    "_sha2" if sys.version_info >= (3, 12) else "_sha256",
}  # fmt: skip
"""All that a prolog may load of the standard library: each module more is paid at every start of a job."""

LATER_IMPORTS = {"_operator", "_signal", "_socket", "grp", "resource", "select", "signal", "time"}
"""What may come on top when there is something to ask, to kill or to remove."""

LAUNCH_IMPORTS = PROLOG_IMPORTS | LATER_IMPORTS | {
    "_ctypes", "_operator", "_struct", "binascii", "ctypes", "ctypes._endian", "gc", "marshal", "struct", "types",
}  # fmt: skip
"""What a usual launch of a payload with proxies loads: nothing of re, enum, functools, typing, pathlib or json."""

LAUNCH = (
    *(
        f"gridwarden.hooks.pilot.{name}"
        for name in (
            "start",
            "launch",
            "credentials",
            "account",
            "books",
            "job_of",
            "lent",
            "pam",
            "program",
            "session",
            "signals",
            "terminal",
        )
    ),
    "gridwarden.mapper.site_cache",
    "gridwarden.mapper.verifier",
    "gridwarden.mapper.readied_process",
    "gridwarden.hooks.clean_up",
    "gridwarden.batch.slurm",
)


WHEN_SOMETHING_WAS_KILLED = {"gridwarden.prune.redact"}
"""What an epilog loads only then, expressions and all."""


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for package, where in SETUP["package-dir"].items():
        for path in (ROOT / where).rglob("*.py"):
            below = path.relative_to(ROOT / where)
            if package == "gridwarden" and below.parts[0] in PARTS:
                continue
            dotted = [package, *below.with_suffix("").parts]
            found[".".join(dotted).removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of ours that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "gridwarden")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gridwarden":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else str(node.module)


def part_of(module: str) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in PARTS else "gridwarden"


MODULES = modules()


def test_every_part_is_linked_and_packaged() -> None:
    mapped = {name: ROOT / where for name, where in SETUP["package-dir"].items()}
    assert set(mapped) == {"gridwarden", *(f"gridwarden.{part}" for part in PARTS)}
    for name, where in mapped.items():
        link = ROOT / name.replace(".", "/")
        assert link.resolve() == where, f"{link} must lead to {where}"


def test_every_package_with_code_is_shipped() -> None:
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert packages == set(SETUP["packages"])


def test_every_directory_with_code_is_a_package() -> None:
    for path in MODULES.values():
        assert (path.parent / "__init__.py").exists(), path


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_part_needs_only_what_it_may_need(name: str) -> None:
    for target in imports(MODULES[name], MODULES):
        allowed = part_of(target) in ALLOWED[part_of(name)]
        values = part_of(name) == "accounting" and target in MAPPER_VALUES
        assert allowed or values, f"{name} imports {target}"
        assert target != "gridwarden.cli", f"{name} imports the command line"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_says_in_its_first_line_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[name].read_bytes())), name


@pytest.mark.parametrize("name", sorted(name for name in MODULES if part_of(name) in ("hooks", "prune")))
def test_only_commands_read_the_configuration(name: str) -> None:
    heavy = {"gridwarden.settings", "gridwarden.load_settings"}
    assert name.endswith("commands") or not heavy & set(imports(MODULES[name], MODULES)), name


def loaded(*names: str) -> set[str]:
    """Return what an interpreter as bare as a hook's has loaded of the standard library for these modules."""
    program = f"""
import sys
before = set(sys.modules)
sys.path.insert(0, {str(ROOT)!r})
for name in {names!r}:
    __import__(name)
print("\\n".join(name for name in set(sys.modules) - before if name.split(".")[0] != "gridwarden"))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_prolog_loads_no_module_that_a_job_would_wait_for() -> None:
    assert loaded("gridwarden.hooks.slurm.node") <= PROLOG_IMPORTS


def test_an_epilog_with_strays_and_a_question_to_slurm_loads_little_more() -> None:
    later = [name for name in MODULES if part_of(name) == "prune" and not name.endswith(".commands")]
    later = [name for name in later if name not in WHEN_SOMETHING_WAS_KILLED]
    assert (
        loaded("gridwarden.hooks.slurm.node", "gridwarden.hooks.slurm.controller", "gridwarden.batch.slurm", *later)
        <= PROLOG_IMPORTS | LATER_IMPORTS
    )


def test_a_launch_loads_no_module_that_each_payload_would_wait_for() -> None:
    assert loaded(*LAUNCH) <= LAUNCH_IMPORTS


def test_asking_for_the_users_of_a_mapping_loads_nothing_that_a_launch_could_not_afford() -> None:
    """It asks for them by name and by uid, through what remembers them."""
    program = f"""
import pwd, sys
before = set(sys.modules)
sys.path.insert(0, {str(ROOT)!r})
from gridwarden.mapper.accounts import UsersRemembered
users = UsersRemembered(pwd)
assert users.getpwuid(users.getpwnam("root").pw_uid) is users.getpwuid(0)
print("\\n".join(name for name in set(sys.modules) - before if name.split(".")[0] != "gridwarden"))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= LAUNCH_IMPORTS


def test_the_agent_keeps_nothing_in_memory_that_a_launch_could_not_afford() -> None:
    assert loaded("gridwarden.hooks.agent.main") <= LAUNCH_IMPORTS | {"_bisect", "_collections"}


def test_only_the_command_line_names_the_parts() -> None:
    for name, path in MODULES.items():
        if part_of(name) == "gridwarden" and name != "gridwarden.cli":
            words = {node.value for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Constant)}
            named = [word for word in words if isinstance(word, str) and word.startswith("gridwarden.")]
            assert not [word for word in named if part_of(word) != "gridwarden"], name
