"""Known vulnerabilities of what is installed: `python .ci/audit.py PYTHON [PIP_AUDIT]`, with `make audit`.

Exits with code 1 where something is found, or the audit itself fails. Where the database of vulnerabilities cannot be
reached, a line says so, and the exit code is 0. A registry may also answer that it knows none of the packages, upon
which pip-audit finds nothing: that is no audit either.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_NO_CONNECTION = ("ConnectionError", "Could not connect", "Max retries exceeded", "timed out", "ProxyError", "SSLError")


def verdict(code: int, output: str, errors: str) -> tuple[int, list[str]]:
    """Exit code and lines of an audit.

    Args:
        code: Exit code of pip-audit.
        output: What it printed, JSON.
        errors: Its messages.
    """
    try:
        dependencies = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        if any(sign in errors for sign in _NO_CONNECTION):
            return 0, ["audit: skipped, the database of vulnerabilities cannot be reached"]
        return 1, ["audit: pip-audit failed", *errors.splitlines()[-5:]]
    audited = [one for one in dependencies if "skip_reason" not in one]
    if not audited:
        return 0, [f"audit: skipped, the database answers for none of {len(dependencies)} packages"]
    found = [
        f"{one['name']} {one['version']}: {each['id']}, fixed in {', '.join(each['fix_versions']) or 'no version yet'}"
        for one in audited
        for each in one["vulns"]
    ]
    unknown = sorted(one["name"] for one in dependencies if "skip_reason" in one)
    lines = [f"audit: {len(audited)} packages, {len(found)} known vulnerabilities", *found]
    if unknown:
        lines.append(f"audit: not known to the database: {', '.join(unknown)}")
    return int(bool(found) or code not in (0, 1)), lines


def main(arguments: Sequence[str]) -> int:
    """Audits the packages that an interpreter has."""
    python, *rest = arguments
    freeze = [python, "-m", "pip", "--disable-pip-version-check", "freeze", "--exclude-editable"]
    frozen = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text("\n".join(line for line in frozen.splitlines() if "==" in line) + "\n", encoding="utf-8")
        flags = ["--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json", f"--requirement={path}"]
        done = subprocess.run([*(rest or ["pip-audit"]), *flags], capture_output=True, text=True, check=False)
    code, lines = verdict(done.returncode, done.stdout, done.stderr)
    print("\n".join(lines), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
