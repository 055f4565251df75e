"""File names tell the same revisions as Alembic, and commands load no more than they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from utils.persistence.revisions import MIGRATIONS, known_revisions

ROOT = Path(__file__).parents[2]


def test_file_names_tell_the_revisions():
    script = ScriptDirectory(str(MIGRATIONS))
    chain = [revision.revision for revision in script.walk_revisions()]
    assert known_revisions() == chain[::-1]
    assert known_revisions()[-1] == script.get_current_head()


HEAVY = "{'alembic', 'fastapi', 'uvicorn', 'psycopg', 'torch', 'matplotlib'}"


@pytest.mark.parametrize("words", [["--help"], ["jobs"]])
def test_commands_load_no_server_and_no_migrations(tmp_path, words):
    program = (
        "import sys; from typer.testing import CliRunner; from orchestration.cli import commands; "
        f"done = CliRunner().invoke(commands.cli, {['--var', str(tmp_path), *words]!r}); "
        f"print(sorted({HEAVY} & set(sys.modules)), done.exit_code)"
    )
    subprocess.run(  # the database is made by another process
        [sys.executable, "-m", "orchestration", "--var", str(tmp_path), "jobs"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] 0\n"
