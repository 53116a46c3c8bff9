"""gridwarden's own modules in one file: ``hooks install`` writes it, and the launcher and Slurm's hooks load all from it.

To look for each of them, and at who could have changed it, took a launch longer than all that they do, and a prolog a third
of its time.  The file begins with the interpreter's magic number and its own length, in 8 bytes, the least first; then come,
in marshal's format, the code of this module, of which gridwarden the file was made, and an index; and then each module's code.
Whoever reads it has seen to it that it is root's alone, of that interpreter, and whole (``hooks.code_file.LOAD``).

What a module imports as it begins is loaded before it, so that its import statements find it: to find a hundred modules
one by one takes importlib 3 ms.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys

TYPE_CHECKING = False  # typing's own costs a launch 3 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    Index = dict[str, tuple[str, bool, int, int, tuple[str, ...]]]

    def module_from_spec(spec: ModuleSpec) -> ModuleType:
        """As ``importlib.util.module_from_spec``."""
else:
    from _frozen_importlib import ModuleSpec, module_from_spec

OURS = "gridwarden"
LONGEST_INDEX = 65536  # bytes of what comes between the first 12 and the first module's code
Version = tuple[int, bytes]


class OwnModules:
    """An importer (``sys.meta_path``) of the modules in the file ``held``, a descriptor, and of no others of gridwarden.

    ``index`` says of each module the file that it was made of, whether it is a package, where its code begins and ends,
    counted from the end of the file, and which others of these modules it imports as it begins.
    """

    def __init__(self, held: int, index: Index) -> None:
        self._held = held
        self._status = os.fstat(held)
        self._index = index

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: object = None) -> ModuleSpec | None:
        """As ``importlib.abc.MetaPathFinder``; raises ModuleNotFoundError for a module of ours that is not in the file."""
        if name not in self._index:
            if name.partition(".")[0] == OURS:
                raise ModuleNotFoundError(f"{name} is not in the file of modules", name=name)
            return None
        return self._spec(name)

    def _spec(self, name: str) -> ModuleSpec:
        origin, is_package, *_ = self._index[name]
        spec = ModuleSpec(name, self, origin=origin, is_package=is_package)  # type: ignore[arg-type]  # it needs no base
        spec.has_location = True  # so that the module has a __file__
        return spec

    def create_module(self, _spec: ModuleSpec) -> None:
        """As ``importlib.abc.Loader``: a module like any other."""

    def exec_module(self, module: ModuleType) -> None:
        """As ``importlib.abc.Loader``."""
        for name in self._index[module.__name__][-1]:
            if name not in sys.modules:
                self.load(name)
        exec(self.code(module.__name__), module.__dict__)  # noqa: S102 - it is what loading a module is

    def load(self, name: str) -> None:
        """As an import statement, for one thread; raises whatever the module's own code does."""
        package, _, last = name.rpartition(".")
        if package and package not in sys.modules:
            self.load(package)
        module = sys.modules[name] = module_from_spec(self._spec(name))
        try:
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        if package:
            setattr(sys.modules[package], last, module)

    def code(self, name: str) -> CodeType:
        """The code of a module; its lines and its file are those of the module itself.  Raises ImportError."""
        _, _, begin, end, _ = self._index[name]
        data = os.pread(self._held, begin - end, self._status.st_size - begin)
        # A process that has closed what it does not need may have another file under the same number by now.
        if not os.path.samestat(os.fstat(self._held), self._status):
            raise ImportError(f"{name}: the file of modules is closed", name=name)
        code: CodeType = marshal.loads(data)  # noqa: S302 - root's alone
        return code


def version(package: str) -> Version:
    """Which gridwarden is installed: time and bytes of a file of its that every update replaces, and that has its version.

    On OSTree and Nix each file is of one and the same time.
    """
    with open(package, "rb", buffering=0) as file:
        return int(os.fstat(file.fileno()).st_mtime), file.read()


def load_from(held: int, made_of: Version, index: Index, package: str, first: str) -> None:
    """Have this interpreter load gridwarden, the module ``first`` now, from the open file ``held`` of that index.

    Raises RuntimeError where another gridwarden than the file was made of has the file ``package`` by now, and whatever the
    modules' own code does; then nothing of them is left loaded.
    """
    if made_of != version(package):
        raise RuntimeError("gridwarden was updated; `gridwarden hooks install` comes next")
    gc.disable()  # next to nothing becomes garbage, and looking for it would have each child of ours copy our memory
    own = OwnModules(held, index)
    sys.meta_path.insert(0, own)
    try:
        own.load(first)
    except BaseException:
        sys.meta_path.remove(own)
        for name in [name for name in sys.modules if name in index]:
            del sys.modules[name]
        raise
