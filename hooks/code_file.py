"""Make the files from which the launcher and Slurm's hooks load gridwarden (``hooks.own_modules``), and what loads them."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks import own_modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import CodeType

LAUNCHER, SLURM = "exec.modules", "slurm.modules"
NEEDED = {
    LAUNCHER: (
        "gridwarden.hooks.pilot.start",
        "gridwarden.mapper.readied_process",
        "gridwarden.mapper.verifier",
        "gridwarden.mapper.token_verifier",
    ),
    SLURM: ("gridwarden.hooks.slurm.node", "gridwarden.hooks.slurm.telling"),
}
"""What begins by each file; the modules that these import, wherever in them, and so on, are all that is ever loaded."""

LOAD = """\
    held = os.open({modules!r}, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(held)
    begins = MAGIC_NUMBER + status.st_size.to_bytes(8, "little")
    if status.st_uid != 0 or status.st_mode & 0o022 or os.read(held, {begins}) != begins:
        raise RuntimeError("the modules are not root's alone, or of another Python; `gridwarden hooks install` comes next")
    importer, made_of, index = marshal.loads(os.read(held, {longest}))
    exec(importer, own_modules := {{"__name__": "own_modules"}})
    own_modules["load_from"](held, made_of, index, {package!r}, {first!r})
"""
"""What a program does with marshal, os and MAGIC_NUMBER before it imports anything of gridwarden; raises what is in the way."""

BEGINS = 12
STRIPPED = 2  # no docstrings, which are a tenth of what each launch would read


def contents(library: str, needed: Sequence[str]) -> bytes:
    """A file with ``needed`` for the gridwarden in the directory ``library``.

    Raises ConfigurationError for what others could change.
    """
    made_of = own_modules.version(_path(library, own_modules.OURS))  # of an update that comes meanwhile it is not
    found: dict[str, tuple[str, CodeType, list[str]]] = {}
    waiting = [*needed]
    while waiting:
        module = waiting.pop()
        path = _path(library, module)
        if module in found or not path:
            continue
        tree = _parsed(trusted.read_file(path))
        found[module] = (path, _compiled(tree, path), [*_imported(tree.body)])
        waiting += [module.rpartition(".")[0], *_imported(ast.walk(tree))]
    names = {module: module for module in found}  # marshal writes one string once, but equal ones each
    codes = {module: marshal.dumps(code) for module, (_, code, _) in found.items()}
    left, index = sum(map(len, codes.values())), {}
    for module, code in codes.items():
        path, _, imported = found[module]
        first = tuple(names[name] for name in dict.fromkeys(imported) if name in names)
        index[module] = (path, path.endswith("/__init__.py"), left, left - len(code), first)
        left -= len(code)
    path = _path(library, own_modules.__name__)
    importer = _compiled(_parsed(trusted.read_file(path)), path)
    head = marshal.dumps((importer, made_of, index))
    if len(head) > own_modules.LONGEST_INDEX:
        raise ConfigurationError(f"{library}: gridwarden has more modules than one file of them can list")
    data = b"".join((head, *codes.values()))
    return _begins(len(data)) + data


def load(package: str, path: Path, first: str = own_modules.OURS) -> str:
    """The lines that load the gridwarden of the directory ``package``, its module ``first`` at once, from the file ``path``."""
    values = {"package": f"{package}/__init__.py", "begins": BEGINS, "longest": own_modules.LONGEST_INDEX}
    return LOAD.format(modules=str(path), first=first, **values)


def is_same(data: bytes, made: bytes) -> bool:
    """Whether ``data`` is a file of the same modules as ``made`` is: of one and the same code marshal's bytes may differ."""
    return _parts(data) == _parts(made)


def _begins(length: int) -> bytes:
    """What comes before so many bytes: which interpreter, and the length of the whole file."""
    return importlib.util.MAGIC_NUMBER + (BEGINS + length).to_bytes(8, "little")


def _parts(data: bytes) -> dict[str, object]:
    """What the bytes of a file were made of, and the code of each module; nothing where it is not whole."""
    begins, rest = data[:BEGINS], data[BEGINS:]
    try:
        importer, made_of, index = marshal.loads(rest if begins == _begins(len(rest)) else b"")  # noqa: S302 - root's
        places = {module: data[len(data) - begin : len(data) - end] for module, (_, _, begin, end, _) in index.items()}
        codes = {module: marshal.loads(code) for module, code in places.items()}  # noqa: S302
    except (EOFError, ValueError, TypeError):
        return {}
    return {own_modules.__name__: (importer, made_of), **codes}


def _path(library: str, module: str) -> str:
    """The real path of a module of gridwarden; "" for what is none."""
    path = f"{library}/{module.replace('.', '/')}"
    candidates = (f"{path}/__init__.py", f"{path}.py") if module.partition(".")[0] == own_modules.OURS else ()
    return next((os.path.realpath(file) for file in candidates if os.path.exists(file)), "")


def _imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """What these statements import, and the names of what may be modules, too."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _parsed(source: bytes) -> ast.Module:
    """Without the import of ``__future__``, which ``_compiled`` stands for: nothing else would be looked for in Python's library."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")]
    return tree


def _compiled(tree: ast.Module, path: str) -> CodeType:
    code: CodeType = compile(tree, path, "exec", annotations.compiler_flag, dont_inherit=True, optimize=STRIPPED)
    return code
