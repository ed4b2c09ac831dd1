"""How Sphinx builds these pages: `make docs`. Guides are Markdown (MyST), the reference comes from the docstrings.

Nothing here, and nothing in the built pages, asks the network for anything; `check_pages.py` makes sure.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ner_module
from ner_module.help import COMMANDS
from ner_module.offers import find_commands

project = "ner-module"
author = "ner-module contributors"
copyright = author
release = version = ner_module.__version__

extensions = ["myst_parser", "sphinx_copybutton", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_templates", "reference/commands.md"]
templates_path = ["_templates"]
# Two classes of one name in different modules, named without their module (by napoleon): the link goes to the first.
suppress_warnings = ["ref.python"]

myst_heading_anchors = 3
myst_links_external_new_tab = False

# Docstrings write `code` between single backticks, too.
default_role = "code"
nitpicky = True
# Names of other projects, whose reference is not at hand offline; type variables and constants of modules here.
nitpick_ignore_regex = [(r"py:.*", r"(?!ner_module).*"), (r"py:.*", r"ner_module\.(.+\.)?_.*")]
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
autosummary_generate = True
autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"ner-module {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_search_summary = False  # summaries are fetched, which browsers refuse for pages opened as files
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"


def setup(app: Any) -> None:
    """Have each command print its help into the page of commands."""
    page = ""
    for command in (*COMMANDS, *find_commands()):
        option = "--help-all" if command in COMMANDS else "--help"
        arguments = [sys.executable, "-m", "ner_module", command, option]
        printed = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        page += f"## {command}\n\n```text\n{printed.stdout.rstrip()}\n```\n\n"
    path = Path(__file__).parent / "reference" / "commands.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(page, encoding="utf-8")
