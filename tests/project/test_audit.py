"""The audit of dependencies, and what it can be relied on for: upper bounds on all of them."""

import configparser
import json
import runpy
import tomllib

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement

verdict = runpy.run_path(str(REPOSITORY / ".ci" / "audit.py"))["verdict"]
SAFE = {"name": "keras", "version": "3.15.1", "vulns": []}
UNSAFE = {"name": "numpy", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}
UNKNOWN = {"name": "ours", "skip_reason": "not found"}


def test_a_vulnerability_fails():
    code, lines = verdict(1, json.dumps({"dependencies": [SAFE, UNSAFE, UNKNOWN]}), "")
    assert code == 1
    assert lines == [
        "audit: 2 packages, 1 known vulnerabilities",
        "numpy 1.0: CVE-1, fixed in 1.1, 2.0",
        "audit: not known to the database: ours",
    ]


def test_none_is_no_failure():
    assert verdict(0, json.dumps({"dependencies": [SAFE]}), "") == (0, ["audit: 1 packages, 0 known vulnerabilities"])


def test_what_cannot_be_audited_is_told_and_passes():
    code, [line] = verdict(1, "", "pip_audit._service.interface.ConnectionError: Could not connect\n")
    assert (code, line) == (0, "audit: skipped, the database of vulnerabilities cannot be reached")
    # As from a registry that knows no vulnerabilities: pip-audit itself then says that there are none.
    code, [line] = verdict(0, json.dumps({"dependencies": [UNKNOWN, UNKNOWN]}), "")
    assert (code, line) == (0, "audit: skipped, the database answers for none of 2 packages")


@pytest.mark.parametrize("errors", ["error: unrecognized arguments", "Traceback\nKeyError: 'x'"])
def test_an_audit_that_fails_fails(errors):
    code, lines = verdict(2, "", errors)
    assert code == 1
    assert lines == ["audit: pip-audit failed", *errors.splitlines()]


FILES = sorted(REPOSITORY.glob("requirements*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_dependency_has_an_upper_bound(path):
    lines = [line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    for line in filter(None, lines):
        if line.startswith("-r "):
            assert REPOSITORY / line.removeprefix("-r ") in FILES
            continue
        assert {one.operator for one in Requirement(line).specifier} & {"<", "<=", "==", "~="}, f"{path.name}: {line}"


def test_nothing_is_required_elsewhere():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(REPOSITORY / "setup.cfg")
    required = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    assert all(value.strip().startswith("file:") for value in required)
    building = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert all({one.operator for one in Requirement(line).specifier} & {"<", "<="} for line in building)
