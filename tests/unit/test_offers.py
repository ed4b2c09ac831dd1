"""The lookup of extras: found by folder, in the order of their callbacks, without those whose needs are missing."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ner_module import offers
from ner_module.help import answer, plain
from ner_module.offers import Offer, call, call_all, find_commands, find_offers

pytestmark = pytest.mark.report  # the lookup as it is

Extras = Callable[..., None]


@pytest.fixture
def extras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Extras]:
    """``extras(one="Offer(…)")`` puts extras of that name in the place of the real ones."""
    root = tmp_path / "made_up_extras"
    root.mkdir()
    (root / "__init__.py").touch()
    (root / "findings.py").touch()  # a module is no extra
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(offers, "_EXTRAS", "made_up_extras")

    def make(**texts: str) -> None:
        for name, text in texts.items():
            (root / name).mkdir()
            source = f"from ner_module.offers import Offer\nOFFER = {text}\ndef f(*a): return ['{name}', *a]\n"
            (root / name / "__init__.py").write_text(source, encoding="utf-8")
        importlib.invalidate_caches()

    find_offers.cache_clear()
    yield make
    find_offers.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "made_up_extras"]:
        del sys.modules[name]


def test_none(extras: Extras) -> None:
    assert find_offers() == {}
    assert find_commands() == {}
    assert call_all("callbacks", None) == []


def test_no_folder_of_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "_EXTRAS", "ner_module.no_such_folder")
    find_offers.cache_clear()
    assert find_offers() == {}
    find_offers.cache_clear()


def test_commands_of_all_by_name(extras: Extras) -> None:
    extras(
        one="Offer(commands={'zip': 'made_up_extras.one:f', 'add': 'made_up_extras.one:f'})",
        two="Offer(commands={'mix': 'made_up_extras.two:f'})",
    )
    assert list(find_commands()) == ["add", "mix", "zip"]
    assert call(find_commands()["mix"], 1, 2) == ["two", 1, 2]


def test_order_of_callbacks(extras: Extras) -> None:
    """Alphabetical but for ``after`` and ``needs``; an extra named in ``after`` may be missing."""
    extras(
        a="Offer(callbacks='made_up_extras.a:f', after=('c', 'missing'))",
        b="Offer(callbacks='made_up_extras.b:f', needs=('a',))",
        c="Offer(callbacks='made_up_extras.c:f')",
        d="Offer(start='made_up_extras.d:f')",
    )
    assert call_all("callbacks", "run") == [["c", "run"], ["a", "run"], ["b", "run"]]
    assert call_all("start") == [["d"]]
    assert call_all("model", "x") == []


def test_without_what_it_needs_an_extra_is_left_out(extras: Extras) -> None:
    extras(a="Offer(needs=('missing',))", b="Offer(needs=('a',))", c="Offer()")
    assert find_offers() == {"c": Offer()}


# ---------------------------------------------------------------------- the real ones


def test_everything_offered_exists() -> None:
    folder = Path(offers.__file__).parent / "extras"
    assert find_offers().keys() == {path.parent.name for path in folder.glob("*/__init__.py")}
    for offer in find_offers().values():
        places: list[Any] = [*offer.commands.values(), offer.callbacks, offer.model, offer.start, offer.formats]
        assert any(places), "an extra offers something"
        for place in filter(None, places):
            module, _, function = place.partition(":")
            spec = importlib.util.find_spec(module)
            assert spec is not None
            tree = ast.parse(Path(str(spec.origin)).read_text(encoding="utf-8"))
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, place
        assert {*offer.needs, *offer.after} <= find_offers().keys()


def test_finding_them_imports_nothing_heavy() -> None:
    script = "import sys; from ner_module.offers import find_commands; find_commands(); print(*sys.modules)"
    root = str(Path(offers.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "lightning", "transformers", "rich", "yaml"} & set(done.stdout.split())


def test_each_command_has_its_own_line_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    answer(["--help"], "ner")
    page = " ".join(capsys.readouterr().out.split())
    for extra, offer in find_offers().items():
        about = importlib.import_module(f"ner_module.extras.{extra}").__doc__.partition("\n")[0]
        for command in offer.commands:
            assert f" {command} {plain(about)} " in page
