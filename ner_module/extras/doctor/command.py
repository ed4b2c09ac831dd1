"""``python -m ner_module doctor``: all checks in order, as a table or JSON."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from dataclasses import asdict
from itertools import groupby

from ner_module import __version__
from ner_module.extras.doctor.check import Check, probe
from ner_module.extras.doctor.libraries import LIBRARIES, libraries, tested_versions
from ner_module.extras.doctor.machine import communication, devices, storage
from ner_module.extras.doctor.services import HUB_TIMEOUT, accounts, ask_hub, no_hub

_COLOURS = {"ok": "green", "info": "default", "warning": "yellow", "error": "red"}


def diagnose(quick: bool = False) -> list[Check]:
    """Check everything, in the order it is listed.

    Args:
        quick: leave out what needs torch or the network: devices, communication and the hub.
    """
    if quick:
        return [*probe("libraries", libraries), *probe("storage", storage), *probe("services", accounts)]
    # Resolving a name can outlast the timeout of an HTTP client: the hub is asked in parallel.
    answers: list[Check] = []
    asking = threading.Thread(target=lambda: answers.extend(probe("services", ask_hub)), daemon=True)
    asking.start()
    sections = {"libraries": libraries, "devices": devices, "communication": communication, "storage": storage}
    checks = [check for section, look in sections.items() for check in probe(section, look)]
    asking.join(HUB_TIMEOUT)
    return [*checks, *(answers or [no_hub("no answer in time")]), *probe("services", accounts)]


def main(arguments: list[str]) -> int:
    """Print the checks.

    Returns:
        The exit code: 1 when something every run needs is broken, else 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ner_module doctor",
        description="Check libraries, devices, communication between processes, disks and the hub.",
        epilog="Exit code: 1 when something that every run needs is broken, else 0.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="only what needs neither torch nor the network")
    options = parser.parse_args(arguments)
    checks = diagnose(options.quick)
    ok = all(check.status != "error" for check in checks)
    if options.json:
        print(json.dumps({"version": __version__, "ok": ok, "checks": list(map(asdict, checks))}, indent=2))
    else:
        _print(checks)
    sys.stdout.flush()
    return 0 if ok else 1


def _print(checks: list[Check]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    for section, group in groupby(checks, key=lambda check: check.section):
        rows = list(group)
        # Libraries without a problem share a row.
        fine = [check for check in rows if check.name in LIBRARIES and check.status == "ok"]
        if fine:
            name = "as tested" if tested_versions() else "installed"
            text = ", ".join(f"{check.name} {check.value}" for check in fine)
            rows = [*(check for check in rows if check not in fine), Check(section, name, "ok", text)]
        for index, check in enumerate(rows):
            value = Text(check.value).append(f"\n→ {check.advice}" if check.advice else "", style="dim")
            title = Text("" if index else section, style="bold")
            table.add_row(title, check.name, Text(check.status, style=_COLOURS[check.status]), value)
        table.add_section()
    console.print(table)
    counts = {status: sum(check.status == status for check in checks) for status in ("error", "warning")}
    found = [f"{count} {status}{'s' * (count != 1)}" for status, count in counts.items() if count]
    console.print(", ".join(found) if found else "Ready.")
