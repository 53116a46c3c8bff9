"""Make the file from which the launcher's entry loads gridwarden (``hooks.pilot.own_modules``)."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
from typing import TYPE_CHECKING

from gridwarden import trusted
from gridwarden.errors import ConfigurationError
from gridwarden.hooks.pilot import own_modules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

NEEDED = (
    "gridwarden.hooks.pilot.start",
    "gridwarden.mapper.readied_process",
    "gridwarden.mapper.verifier",
    "gridwarden.mapper.token_verifier",
)
"""What a launch begins with; the modules that these import, wherever in them, and so on, are all that it ever loads."""

STRIPPED = 2  # no docstrings, which are a tenth of what each launch would read


def contents(library: str) -> bytes:
    """The file for the gridwarden in the directory ``library``; raises ConfigurationError for what others could change."""
    begins = stamp(_path(library, own_modules.OURS))  # of an update that comes meanwhile it is not
    found: dict[str, tuple[str, CodeType, list[str]]] = {}
    waiting = [*NEEDED]
    while waiting:
        module = waiting.pop()
        path = _path(library, module)
        if module in found or not path:
            continue
        source = trusted.read_file(path)
        tree = ast.parse(source)
        found[module] = (path, _compiled(source, path), [*_imported(tree.body)])
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
    importer = _compiled(trusted.read_file(path), path)
    head = begins + marshal.dumps((importer, index))
    if len(head) > own_modules.LONGEST_INDEX:
        raise ConfigurationError(f"{library}: gridwarden has more modules than its launcher can load")
    return b"".join((head, *codes.values()))


def is_made_of(data: bytes, library: str) -> bool:
    """Whether ``data`` is such a file of what is in ``library`` now; of one and the same code marshal's bytes may differ.

    Raises as ``contents``.
    """
    return _code(data, library) == _code(contents(library), library)


def stamp(package: str) -> bytes:
    """What the file begins with, as the entry makes it of what it finds: which interpreter, and which gridwarden.

    ``package`` is a file of gridwarden's that every update replaces, and that has its version: on OSTree and Nix each file
    is of one and the same time.
    """
    with open(package, "rb") as file:
        return repr((importlib.util.MAGIC_NUMBER, int(os.fstat(file.fileno()).st_mtime), file.read())).encode()


def _code(data: bytes, library: str) -> dict[str, CodeType]:
    """The code of each module in the bytes of a file; nothing where it is not whole, or of another stamp."""
    begins = stamp(_path(library, own_modules.OURS))
    try:
        importer, index = marshal.loads(data.removeprefix(begins) if data.startswith(begins) else b"")  # noqa: S302 - root's
        places = {module: data[len(data) - begin : len(data) - end] for module, (_, _, begin, end, _) in index.items()}
        return {own_modules.__name__: importer} | {module: marshal.loads(code) for module, code in places.items()}  # noqa: S302
    except (EOFError, ValueError, TypeError):
        return {}


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


def _compiled(source: bytes, path: str) -> CodeType:
    code: CodeType = compile(source, path, "exec", dont_inherit=True, optimize=STRIPPED)
    return code
