"""The README is short, and its tree of folders tells the truth; commands, options and links: `test_docs.py`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Present in every repository, and explained by nobody.
_UNMENTIONED = {"__init__.py", "__pycache__", "LICENSE", "CITATION.cff", "build", "dist", "runs", "wandb"}


def _tree() -> dict[Path, str]:
    """The annotated tree: path -> what is said of it."""
    block = README.split("## Make it yours", 1)[1].split("```", 2)[1]
    found: dict[Path, str] = {}
    parent = Path()
    for line in block.strip().splitlines():
        name, _, text = line.strip().partition("  ")
        inside = line.startswith(" ")
        found[(parent if inside else Path()) / name.rstrip("/")] = text.strip()
        if not inside:
            parent = Path(name.rstrip("/"))
    return found


def _names(folder: Path) -> set[str]:
    """What git would show of a folder, without hidden files but .github."""
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".") or path.name == ".github"}
    return {name for name in found if not name.endswith(".egg-info")} - _UNMENTIONED


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 220


def test_tree_names_nothing_that_is_not_there() -> None:
    tree = _tree()
    assert len(tree) > 25
    for path, text in tree.items():
        assert (ROOT / path).exists(), f"{path} is in the README's tree but not in the repository"
        assert text or any(other.parent == path for other in tree), f"{path} is not explained"


def test_tree_names_every_entry_of_the_root_and_of_the_package() -> None:
    tree = set(_tree())
    for folder in (Path(), Path("ner_module")):
        missing = {name for name in _names(ROOT / folder) if folder / name not in tree}
        assert not missing, f"missing from the README's tree: {sorted(missing)}"


def test_every_extra_is_explained() -> None:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for path in (ROOT / "ner_module" / "extras").iterdir():
        if path.is_dir() and path.name != "__pycache__":
            assert f"| `{path.name}` |" in text, f"docs/extending.md does not explain extras/{path.name}"
