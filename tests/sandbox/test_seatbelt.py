"""The profile for macOS is well formed and allows what it says; it was never run, because its authors have no Mac."""

from __future__ import annotations

import re

from sandbox.seatbelt import seatbelt_prefix, seatbelt_profile

PYTHON = "/opt/py/bin/python3"


def test_every_rule_is_closed_and_only_the_null_device_is_written() -> None:
    lines = seatbelt_profile(["/opt/py/lib", '/odd "name"'], PYTHON).splitlines()
    for line in lines:
        bare = re.sub(r'"(\\.|[^"\\])*"', "", line)
        assert bare.startswith("(") and bare.count("(") == bare.count(")"), line
    assert lines[1] == "(deny default)" and "(deny network*)" in lines and "(deny mach-lookup)" in lines
    assert [line for line in lines if "write" in line] == ['(allow file-write-data (literal "/dev/null"))']
    assert [line for line in lines if "process-exec" in line] == [f'(allow process-exec (literal "{PYTHON}"))']


def test_python_may_look_at_the_folders_above_its_own_and_load_its_libraries() -> None:
    """It prevents a start that fails where Python resolves its own path, with everything else allowed."""
    profile = seatbelt_profile(["/opt/py/lib"], PYTHON)
    assert '(allow file-read-metadata (literal "/") (literal "/opt") (literal "/opt/py"))' in profile
    assert '(allow file-map-executable (subpath "/opt/py/lib"))' in profile


def test_answers_of_benchmarks_in_installed_packages_stay_closed() -> None:
    command, _, profile = seatbelt_prefix()
    rules = profile.splitlines()
    assert command == "/usr/bin/sandbox-exec"
    reads = [number for number, rule in enumerate(rules) if rule.startswith("(allow file-read*")]
    denied = [number for number, rule in enumerate(rules) if rule.startswith("(deny file-read*")]
    assert max(reads) < min(denied), "the last rule that matches decides"
