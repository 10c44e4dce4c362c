"""MkDocs' side of `generate.py`: tables and links of every page, notebooks as pages, guides that are there."""

from pathlib import Path

from generate import DOCS, ROOT, expand, notebook_page, rewrite_links
from mkdocs.structure.files import File


def on_config(config):
    """Every detector, guide and notebook has its place in the navigation."""
    folders = {
        section: [path.relative_to(DOCS).as_posix() for path in sorted((DOCS / section.lower()).glob("*.md"))]
        for section in ("Detectors", "Guides")
    }
    for section, pages in (folders | {"Notebooks": [f"notebooks/{path.stem}.md" for path in _notebooks()]}).items():
        next(entry for entry in config.nav if section in entry)[section].extend(pages)
    return config


def on_files(files, config):
    """Notebooks with their images, pages with their tables, and what pages link to outside `docs`."""
    pages = {}
    for path in _notebooks():
        text, images = notebook_page(path)
        pages[f"notebooks/{path.stem}.md"] = text, path
        for name, content in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for file in list(files.documentation_pages()):
        pages[file.src_uri] = expand(Path(file.abs_src_path).read_text()), Path(file.abs_src_path)
        files.remove(file)
    for place, (text, source) in pages.items():
        text, needed = rewrite_links(text, source, place)
        files.append(File.generated(config, place, content=text))
        for inside, path in needed.items():
            if files.get_file_from_path(inside) is None:
                files.append(File.generated(config, inside, abs_src_path=str(path)))
    return files


def _notebooks():
    return sorted((ROOT / "notebooks").glob("*.ipynb"))
