"""Which files a site's settings are read from; light, so that hooks and plugins can ask for them too."""

from __future__ import annotations

import os

from gridwarden import trusted


def files_of(path: str | os.PathLike[str]) -> list[str]:
    """Return site.yaml and what its site.d adds, in the order in which they merge.

    What else lies in site.d (an editor's locks and backups) is none of the site's.  Raises ConfigurationError.
    """
    path = os.path.abspath(path)  # Path.resolve would follow links, which are refused
    directory = os.path.splitext(path)[0] + ".d"
    if not os.path.lexists(directory):
        return [path]
    descriptor = trusted.open_directory(directory)
    try:
        names = sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)
    return [path, *(f"{directory}/{name}" for name in names if name.endswith(".yaml") and not name.startswith("."))]
