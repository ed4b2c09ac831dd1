"""``python -m ner_module doctor``: everything in order, as a table or JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from dataclasses import asdict
from typing import Any

from ner_module import __version__
from ner_module.extras.doctor.finding import Finding, probe
from ner_module.extras.doctor.libraries import LIBRARIES, libraries, tested_versions
from ner_module.extras.doctor.machine import communication, devices, storage
from ner_module.extras.doctor.services import HUB_TIMEOUT, accounts, ask_hub, no_hub


def diagnose(quick: bool = False) -> list[Finding]:
    """Look at everything, in the order it is listed.

    Args:
        quick: leave out what needs torch or the network: devices, communication and the hub.
    """
    # Resolving a name can outlast the timeout of an HTTP client: the hub is asked beside the rest.
    answers: list[Finding] = []
    asking = threading.Thread(target=lambda: answers.extend(probe("services", ask_hub)), daemon=True)
    if not quick:
        asking.start()
    findings = [*probe("libraries", libraries)]
    if not quick:
        findings += probe("devices", devices)
        findings += probe("communication", communication)
    findings += probe("storage", storage)
    if not quick:
        asking.join(HUB_TIMEOUT)
        findings += answers[:] or [no_hub(os.environ.get("HF_ENDPOINT", "https://huggingface.co"), "no answer in time")]
    return [*findings, *probe("services", accounts)]


def main(arguments: list[str]) -> int:
    """Print what was found.

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
    findings = diagnose(options.quick)
    if options.json:
        print(json.dumps(_as_json(findings), indent=2))
    else:
        _print(findings)
    sys.stdout.flush()
    return int(any(finding.status == "error" for finding in findings))


def _as_json(findings: list[Finding]) -> dict[str, Any]:
    ok = all(finding.status != "error" for finding in findings)
    return {"version": __version__, "ok": ok, "checks": [asdict(finding) for finding in findings]}


def _print(findings: list[Finding]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    colours = {"ok": "green", "info": "", "warning": "yellow", "error": "red"}
    section = ""
    for finding in _folded(findings):
        if section and finding.section != section:
            table.add_section()
        first, section = finding.section != section, finding.section
        text = escape(finding.value) + (f"\n[dim]→ {escape(finding.advice)}[/]" if finding.advice else "")
        colour = colours[finding.status]
        status = f"[{colour}]{finding.status}[/]" if colour else finding.status
        table.add_row(f"[bold]{section}[/]" if first else "", finding.name, status, text)
    console.print(table)
    counts = {status: sum(finding.status == status for finding in findings) for status in ("error", "warning")}
    found = [f"{count} {status}{'s' * (count != 1)}" for status, count in counts.items() if count]
    console.print(", ".join(found) if found else "Ready.")


def _folded(findings: list[Finding]) -> list[Finding]:
    """The libraries that are well in one row."""
    fine = [finding for finding in findings if finding.name in LIBRARIES and finding.status == "ok"]
    if not fine:
        return findings
    text = ", ".join(f"{finding.name} {finding.value}" for finding in fine)
    row = Finding("libraries", "as tested" if tested_versions() else "installed", "ok", text)
    place = findings.index(fine[0])
    rest = [finding for finding in findings[place:] if finding not in fine]
    return [*findings[:place], row, *rest]
