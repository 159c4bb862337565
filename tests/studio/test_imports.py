import os
import subprocess
import sys

import pytest

from gptcore.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.studio.tokenizers import make_tokenizer

HEAVY = ("torch", "numpy", "transformers", "tokenizers", "textual")


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["run", "--help"], ["profiles", "list"], ["runs"], []]
)
def test_light_commands_import_nothing_heavy(workspace: Workspace, words: list[str]) -> None:
    script = (
        "import sys\n"
        "sys.argv[0] = 'gptstudio'\n"
        "from gptstudio.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('LOADED', loaded)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "LOADED []"


def test_the_interfaces_process_shows_tokens_and_never_loads_the_library(
    workspace: Workspace,
) -> None:
    (workspace.datasets / "rows.jsonl").write_text('{"prompt": "one", "completion": "two"}\n')
    make_tokenizer(workspace)
    script = (
        "import sys\n"
        "from gptcore.workspace import Workspace\n"
        "from tests.studio.app.screens import drive, shown, until\n"
        "async def look(studio, pilot):\n"
        "    studio.action_open('data')\n"
        "    await until(pilot, lambda: 'rows.jsonl' in shown(studio))\n"
        "    await pilot.press('G', 't')\n"
        "    await until(pilot, lambda: 'tokens of demo-1' in shown(studio))\n"
        "    await pilot.press('i')\n"
        "    await until(pilot, lambda: 'tokens a row' in shown(studio))\n"
        "drive(Workspace.locate(), look, size=(200, 40))\n"
        f"loaded = [name for name in {HEAVY[:4]!r} if name in sys.modules]\n"
        "print('LOADED', loaded)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=workspace.root,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines()[-1:] == ["LOADED []"], result.stderr
