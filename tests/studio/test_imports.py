import subprocess
import sys

import pytest

from gptcore.workspace import Workspace

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
