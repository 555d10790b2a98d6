"""For the site alone (mkdocs.yml): the examples that pages link to lie outside docs/, and come along."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SHOWN = {".py", ".sh", ".yml", ".ipynb"}


def on_files(files: Files, config: Any) -> Files:
    """Add examples/."""
    root = Path(config.config_file_path).parent
    for path in sorted((root / "examples").rglob("*")):
        if path.suffix in SHOWN and "__pycache__" not in path.parts:
            name = path.relative_to(root).as_posix()
            files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    name = "requirements-light.txt"
    files.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Where docs/ says ../examples, the site has examples."""
    return markdown.replace("](../examples/", "](examples/").replace(
        "](../requirements-light.txt", "](requirements-light.txt"
    )
