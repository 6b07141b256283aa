"""Imports point one way, and the core needs torch, numpy, scipy and numba alone."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "render": set(),
    "uplift": {"render"},
    "training": {"render", "uplift"},
    "assets": {"render"},
    "app": {"render", "uplift", "training", "assets"},
}
CORE = {"torch", "numpy", "scipy", "numba"}
OWNERS = {
    "viser": "app",
    "nerfstudio": "training",
    "open_clip": "uplift",
    "segment_anything": "uplift",
    "timm": "uplift",
}


def imported(path: Path) -> set[str]:
    """First components of everything that a file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def optional_modules() -> set[str]:
    """Modules of every dependency in pyproject.toml but the core's."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {"".join(c if c.isalnum() or c in "-_." else " " for c in line).split()[0].lower() for line in listed}
    plain = {name.replace("_", "-") for name in names} - CORE
    return {
        module
        for module, owners in packages_distributions().items()
        if {owner.lower().replace("_", "-") for owner in owners} & plain
    }


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_packages_import_in_one_direction_only() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package, allowed in ALLOWED.items()
        for path in (ROOT / package).rglob("*.py")
        for name in imported(path) & set(ALLOWED) - allowed - {package}
    ]
    assert wrong == []


def test_libraries_stay_in_the_package_that_owns_them() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {library}"
        for package in ALLOWED
        for path in (ROOT / package).rglob("*.py")
        for library, owner in OWNERS.items()
        if package != owner and library in imported(path)
    ]
    assert wrong == []


def test_the_core_imports_without_any_optional_library() -> None:
    blocked = optional_modules()
    assert {"PIL", "cv2", "rich", "tyro", "viser", "nerfstudio", "gsplat", "jaxtyping"} <= blocked
    script = (
        f"import sys\nfor name in {sorted(blocked)!r}: sys.modules[name] = None\nimport render, uplift\nprint('fine')"
    )
    assert run(script).strip() == "fine"


def test_importing_everything_leaves_nerfstudio_viser_and_encoder_libraries_out() -> None:
    script = (
        "import sys, render, uplift, app, app.main\n"
        "print([m for m in ('nerfstudio', 'viser', 'open_clip', 'segment_anything', 'timm', 'gsplat') "
        "if m in sys.modules])"
    )
    assert run(script).strip() == "[]"


def test_every_package_says_what_it_is() -> None:
    for package in ALLOWED:
        text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
        assert text
        assert text.splitlines()[0].endswith(".")
