"""Every command in the README is one that works."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args

import pytest

from app.main import OK, Command, parse

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [line.strip() for kind, block in BLOCKS if kind == "sh" for line in block.splitlines() if line.strip()]
COMMANDS += re.findall(r"`(uv run [^`]+)`", README)


def of(program: str) -> list[str]:
    return sorted({command for command in COMMANDS if shlex.split(command)[:3] == ["uv", "run", program]})


def test_the_readme_shows_the_two_commands_that_do_everything() -> None:
    assert "uv run fit3d demo" in COMMANDS
    assert "uv run pytest" in COMMANDS
    assert all(command.startswith("uv run ") for command in COMMANDS)


@pytest.mark.parametrize("command", of("fit3d"))
def test_the_parser_accepts_every_fit3d_command(command: str) -> None:
    parsed = parse(shlex.split(command)[3:])
    assert callable(parsed.run)


@pytest.mark.parametrize(
    "command", sorted({c for c in COMMANDS if not c.startswith(("uv run fit3d", "uv run pytest"))})
)
def test_other_programs_are_installed_and_methods_registered(command: str) -> None:
    program, *arguments = shlex.split(command)[2:]
    assert shutil.which(program, path=str(Path(sys.executable).parent))
    if program == "ns-train":
        assert arguments[0] in {entry.name for entry in entry_points(group="nerfstudio.method_configs")}


def test_every_subcommand_is_in_the_readme() -> None:
    shown = {shlex.split(command)[3] for command in of("fit3d")}
    assert shown == {member.__metadata__[0].name for member in get_args(Command)}


def test_names_that_the_readme_imports_exist() -> None:
    import importlib

    (block,) = [block for kind, block in BLOCKS if kind == "python"]
    imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
    assert imports
    for node in imports:
        assert node.module
        for alias in node.names:
            assert hasattr(importlib.import_module(node.module), alias.name), alias.name


def test_files_that_the_readme_names_exist() -> None:
    linked = re.findall(r"\]\((?!https?:)([^)]+)\)", README)
    assert linked
    for name in linked:
        assert (ROOT / name).is_file(), name


def test_tables_are_whole() -> None:
    lines = README.splitlines()
    for above, line, below in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line.startswith("|") and not above.startswith("|"):
            assert re.fullmatch(r"\|[ |-]+\|", below), line


@pytest.mark.slow
def test_the_demo_opens_a_page_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from app.main import entrypoint; entrypoint()", "demo", "--port", "0"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = []
        try:
            for line in demo.stdout:
                said.append(line)
                if line.startswith("open http"):
                    break
            with urllib.request.urlopen(said[-1].split()[1], timeout=60) as page:  # noqa: S310  the demo's own address
                assert b"<html" in page.read()
            demo.send_signal(signal.SIGINT)
            assert demo.wait(30) == OK
        finally:
            demo.kill()  # if it still runs, which would be waited for for ever
    assert any("fit3d segment" in line for line in said)
