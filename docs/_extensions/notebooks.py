"""The notebooks as pages: Sphinx reads nothing above its folder, so they are copied into it."""

import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.typing import ExtensionMetadata

_INDEX = """# Notebooks

Worked examples, kept with their outputs. Their sources are in `notebooks/` of the repository.

```{{toctree}}
:maxdepth: 1

{entries}
```
"""
_NONE = "# Notebooks\n\nThere is none yet.\n"


def copy_notebooks(app: Sphinx, _: Config) -> None:
    """Makes the folder anew, so that it holds what the repository holds."""
    source, target = Path(app.srcdir).parent / "notebooks", Path(app.srcdir) / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    notebooks = sorted(source.glob("*.ipynb"))
    for notebook in notebooks:
        shutil.copy2(notebook, target)
    entries = "\n".join(notebook.stem for notebook in notebooks)
    index = _INDEX.format(entries=entries) if notebooks else _NONE
    (target / "index.md").write_text(index, encoding="utf-8")


def setup(app: Sphinx) -> ExtensionMetadata:
    """Copies before pages are looked for."""
    app.connect("config-inited", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
