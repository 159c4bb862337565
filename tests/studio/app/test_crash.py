import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptcore.workspace import Workspace
from gptstudio.app.crash import crash_report


def test_a_fault_is_a_sentence_and_a_file(tmp_path: Path) -> None:
    try:
        raise ValueError("no \x1b[31mluck")
    except ValueError as error:
        said = crash_report(error, tmp_path)
    [file] = tmp_path.iterdir()
    assert str(file) in said
    assert "runs are not touched" in said
    assert "Traceback" not in said
    assert "ValueError: no" in file.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_file_is_no_second_fault(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "gptstudio-crash-" in crash_report(ValueError("x"), tmp_path)


def test_the_app_closes_with_that_sentence(workspace: Workspace) -> None:
    script = f"""
from pathlib import Path
from gptcore.workspace import Workspace
from gptstudio.app.studio import Studio
class Faulty(Studio):
    CSS_PATH = []
    def _tick(self):
        raise RuntimeError("a fault")
studio = Faulty(Workspace(Path({str(workspace.root)!r})))
studio.run(headless=True)
raise SystemExit(studio.return_code)
"""
    workspace.logs.mkdir()
    (workspace.root / "faulty.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "faulty.py"],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "the studio has a fault and had to close: RuntimeError: a fault" in said
    assert "locals" not in said
    [file] = workspace.logs.glob("gptstudio-crash-*.txt")
    assert "_tick" in file.read_text()
