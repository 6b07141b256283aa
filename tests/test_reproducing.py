"""What reproductions have in common."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from app.reproducing import Spent

BUSY = "import time\nwhile time.process_time() < 0.7: pass"


def test_processors_of_finished_processes_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    spent = Spent()
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    spent.say()
    found = re.fullmatch(r"(.+) s in all, (.+) s of processors\n", capsys.readouterr().out)
    assert found is not None
    clock, processors = map(float, found.groups())
    assert 0.6 < processors <= clock + 0.2
