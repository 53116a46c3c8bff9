"""Which files a site's settings are read from; light, so that hooks and plugins can ask for them too."""

from __future__ import annotations

import os
from pathlib import Path

from gridwarden import trusted


def files_of(path: Path) -> list[Path]:
    """Return site.yaml and what its site.d adds, in the order in which they merge.

    What else lies in site.d (an editor's locks and backups) is none of the site's.  Raises ConfigurationError.
    """
    path = Path(os.path.abspath(path))  # Path.resolve would follow links, which are refused
    directory = path.with_suffix(".d")
    if not os.path.lexists(directory):
        return [path]
    descriptor = trusted.open_directory(directory)
    try:
        names = sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)
    return [path, *(directory / name for name in names if name.endswith(".yaml") and not name.startswith("."))]
