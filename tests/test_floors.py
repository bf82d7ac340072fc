"""The architecture: a package imports only from packages of lower layers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_inr

FLOORS = {
    "errors": 0,
    "types": 1, "paths": 1, "metrics": 1, "devices": 1, "cuda_graphs": 1, "ffmpeg": 1, "progress": 1,
    "processes": 1, "ranges": 2,
    "storage": 3,
    "nn": 2, "losses": 2, "teachers": 2, "side_by_side": 2,
    "models": 3,
    "codec": 4, "data": 4, "vmaf": 5,
    "training": 5, "retrieval": 5, "chat": 5, "report": 5,
    "pipelines": 6,
    "configuration": 7, "video": 7,
    "tasks": 8, "api": 8, "clips": 8, "export": 8,
    "options": 2, "option_checks": 3, "help": 4,
    "run": 9, "sweep": 9, "demo": 9,
    "command": 10,
}  # fmt: skip
PACKAGE = Path(lightning_inr.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_are_from_lower_layers(path: Path) -> None:
    package = package_of(path)
    if package == "__init__":
        return
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] != "lightning_inr" or len(parts) < 2 or parts[1] not in FLOORS:
            continue
        assert parts[1] == package or FLOORS[parts[1]] < FLOORS[package], f"{path} climbs to {module}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "tasks").glob("*.py")), ids=lambda path: path.stem)
def test_no_task_imports_another(path: Path) -> None:
    assert not [name for name in imported_modules(path) if name.startswith("lightning_inr.tasks")]


@pytest.mark.parametrize("path", sorted((PACKAGE / "pipelines").glob("*.py")), ids=lambda path: path.stem)
def test_pipelines_do_not_import_configuration_packages(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imported_modules(path)} & {"hydra", "omegaconf"}


def test_public_names_are_unique() -> None:
    files_by_name: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                files_by_name.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    del files_by_name["run"]  # the one function of every task
    assert {name: files for name, files in files_by_name.items() if len(files) > 1} == {}


def test_every_package_has_a_layer() -> None:
    assert {package_of(path) for path in FILES} - {"__init__"} == set(FLOORS)


def test_the_command_line_does_not_import_torch() -> None:
    heavy = {"torch", "lightning", "torchmetrics"}
    visited: set[str] = set()
    queue = {"lightning_inr.run"}
    while queue:
        module = queue.pop()
        visited.add(module)
        path = PACKAGE.parent / (module.replace(".", "/") + ".py")
        if not path.exists():
            continue
        found = {name for name in imported_modules(path) if name.split(".")[0] in heavy | {"lightning_inr"}}
        assert not {name.split(".")[0] for name in found} & heavy, f"{module} imports {found}"
        queue |= found - visited


def test_files_are_read_and_searched_without_the_packages_of_a_fit() -> None:
    modules = ["video", "clips", *(f"tasks.{name}" for name in ("decode", "info", "search", "chat"))]
    program = "import sys\n" + "".join(f"import lightning_inr.{module}\n" for module in modules)
    check = "print([name for name in ('lightning', 'torchmetrics', 'transformers', 'wandb') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program + check], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
