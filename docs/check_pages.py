"""Checks the built pages: every internal link, anchor and file is there, and nothing is loaded from elsewhere.

    python docs/check_pages.py build/docs

Links to other sites are not followed, so that it runs without a network. What readers see is not checked here.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Elements whose address the browser fetches by itself; `a` waits for a click.
_LOADED = {"link", "script", "img", "source", "iframe", "video", "audio", "object", "embed", "use"}
# Links that name an address without fetching it.
_NAMING_RELS = {"canonical", "author", "license", "prev", "next", "index", "search"}
_CSS_ADDRESS = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


class Page(HTMLParser):
    """The ids of a page, and the addresses in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what an element says."""
        given = dict(attrs)
        self.ids.update(value for name in ("id", "name") if (value := given.get(name)))
        naming = tag == "link" and (given.get("rel") or "") in _NAMING_RELS
        for name in ("href", "src", "srcset", "data"):
            if value := given.get(name):
                (self.loaded if tag in _LOADED and not naming else self.links).append(value.split(" ")[0])
        if style := given.get("style"):
            self.loaded += css_addresses(style)


def css_addresses(text: str) -> list[str]:
    """What a style sheet loads."""
    return [found[0] or found[1] for found in _CSS_ADDRESS.findall(text)]


def problems(root: Path) -> list[str]:
    """One line for each thing that is wrong with the pages under ``root``."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.html"))}
    found = [] if pages else [f"{root}: there are no pages"]
    for path, page in pages.items():
        found += [f"{path}: loads {address}" for address in page.loaded if _is_elsewhere(address)]
        for address in [*page.links, *page.loaded]:
            if problem := _broken(path, address, pages, root):
                found.append(f"{path}: {problem}")
    for path in sorted(root.rglob("*.css")):
        for address in css_addresses(path.read_text(encoding="utf-8")):
            if _is_elsewhere(address):
                found.append(f"{path}: loads {address}")
            elif problem := _broken(path, address, pages, root):
                found.append(f"{path}: {problem}")
    return found


def _is_elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ftp")


def _broken(path: Path, address: str, pages: dict[Path, Page], root: Path) -> str | None:
    """What is wrong with an address in a page; ``None`` for one that is right or leads elsewhere."""
    parts = urlsplit(address)
    if parts.netloc or parts.scheme:
        return None
    target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file() or not target.is_relative_to(root):
        return f"broken link {address}"
    fragment = unquote(parts.fragment)
    if fragment and target in pages and fragment not in pages[target].ids:
        return f"no such place {address}"
    return None


def main(arguments: list[str]) -> int:
    """Print what is wrong; returns the exit code."""
    found = problems(Path(arguments[0]).resolve())
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
