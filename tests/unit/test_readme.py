"""The README's file tree tells the truth; its commands, options and links are checked in `test_docs.py`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Present in every repository, and explained by nobody.
_UNMENTIONED = {"__init__.py", ".gitignore", ".ci", "LICENSE", "CITATION.cff"}


def _tree() -> dict[Path, str]:
    """The annotated file tree: path -> what is said of it."""
    block = README.split("## Where things are", 1)[1].split("```", 2)[1]
    found: dict[Path, str] = {}
    folders: list[tuple[int, Path]] = []
    for line in block.splitlines():
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        name, _, text = line.strip().partition("  ")
        while folders and folders[-1][0] >= indent:
            folders.pop()
        parent = folders[-1][1] if folders else Path()
        path = parent / name.rstrip("/")
        found[path] = text.strip()
        if name.endswith("/"):
            folders.append((indent, path))
    return found


def test_tree_names_nothing_that_is_not_there() -> None:
    tree = _tree()
    assert len(tree) > 40
    for path, text in tree.items():
        assert (ROOT / path).exists(), f"{path} is in the README's tree but not in the repository"
        assert text or any(other.parent == path for other in tree), f"{path} is not explained"


def test_tree_names_every_module_and_top_level_entry() -> None:
    tree = set(_tree())
    top = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") or path.name == ".github"}
    ignored = {"build", "dist", "runs", "wandb"} | _UNMENTIONED
    for name in top - ignored:
        if not name.endswith(".egg-info") and name != "__pycache__":
            assert Path(name) in tree, f"{name} is missing from the README's tree"
    for path in (ROOT / "ner_module").rglob("*.py"):
        relative = path.relative_to(ROOT)
        parents = [parent for parent in relative.parents if parent in tree]
        # A folder whose files are not listed speaks for all of them.
        listed_siblings = any(other.parent == relative.parent for other in tree)
        if path.name not in _UNMENTIONED and (listed_siblings or not parents):
            assert relative in tree, f"{relative} is missing from the README's tree"
