"""The structure of the code: floors, no circles of imports, imports at the top of files."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up: a file imports only what stands on its own floor or below it.
FLOORS = [
    ["common.io", "common.settings", "common.command", "common.hardware"],
    ["common.arch"],
    ["common.preprocessing"],
    ["common.flow"],
    ["common.video"],
    ["common.annotations"],
    ["common.jobs"],
    ["convert"],
    ["common.model_card", "common.models"],
    ["common.prepare", "common.training", "common.evaluation"],
    ["common.features", "common.fvd", "common.predict"],
    ["common.demo", "common.cli"],
    ["i3d_torch", "i3d_tf"],
]

# Packages that are slow to import, or optional.
HEAVY = {
    "av", "cv2", "h5py", "i3d_tf", "i3d_torch", "jax", "matplotlib", "numba", "onnx",
    "onnxruntime", "pooch", "ray", "requests", "sonnet", "tensorboardX", "tensorflow", "torch",
    "tqdm", "triton",
}  # fmt: skip
# Modules of ours that import one of these at their top.
HEAVY_MODULES = {"common.flow"}


def _sources():
    tracked = subprocess.run(
        ["git", "ls-files", "common", "convert", "i3d_tf", "i3d_torch"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    for name in tracked.stdout.split():
        path = Path(name)
        helper = path.parts[:2] == ("common", "testing") or path.name == "conftest.py"
        if path.suffix == ".py" and not path.name.endswith("_test.py") and not helper:
            yield path


def _module(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture(scope="module")
def modules():
    """The syntax tree of every file that is shipped, by module name."""
    return {_module(path): ast.parse((ROOT / path).read_text("utf-8")) for path in _sources()}


def _imports(tree, modules, top_only=False):
    """The modules of ours that a file imports, with the line of each; none for type checkers."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in tree.body if top_only else ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [
                full if (full := f"{node.module}.{alias.name}") in modules else node.module
                for alias in node.names
            ]
        else:
            continue
        yield from ((name, node.lineno) for name in names if name in modules)


def _floor(module):
    for number, floor in enumerate(FLOORS):
        if any(module == name or module.startswith(f"{name}.") for name in floor):
            return number
    return None


def test_the_top_level_is_fixed():
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    folders = {name.partition("/")[0] for name in tracked if "/" in name}
    assert folders == {
        ".ci", "benchmarks", "common", "convert", "data", "docs", "i3d_tf", "i3d_torch",
        "parity_tests",
    }  # fmt: skip


def test_every_file_stands_on_a_floor(modules):
    packages = {"common", "convert"}  # they hold nothing
    assert [name for name in modules if _floor(name) is None and name not in packages] == []


def test_files_import_from_their_own_floor_or_below(modules):
    wrong = [
        f"{name}:{line} imports {imported}"
        for name, tree in modules.items()
        for imported, line in _imports(tree, modules)
        if (_floor(imported) or 0) > (_floor(name) or 0)
        # The converter exports SavedModels, and verifies, by the frameworks.
        and not (name.startswith("convert") and imported.startswith("i3d_"))
    ]
    assert wrong == []


def test_common_reaches_convert_through_models_alone(modules):
    wrong = [
        f"{name}:{line} imports {imported}"
        for name, tree in modules.items()
        if name.startswith("common.") and name != "common.models"
        for imported, line in _imports(tree, modules)
        if imported.startswith("convert")
    ]
    assert wrong == []


def test_no_circle_of_imports(modules):
    """At the top of files, where a circle can break an import."""
    edges = {
        name: {found for found, _ in _imports(tree, modules, top_only=True) if found != name}
        for name, tree in modules.items()
    }
    done, path = set(), []

    def visit(name):
        if name in path:
            raise AssertionError(" -> ".join([*path[path.index(name) :], name]))
        if name not in done:
            path.append(name)
            for each in sorted(edges[name]):
                visit(each)
            path.pop()
            done.add(name)

    for name in sorted(edges):
        visit(name)


def test_imports_stand_at_the_top_but_for_heavy_packages(modules):
    wrong = []
    for name, tree in modules.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                else:
                    continue
                wrong += [
                    f"{name}:{node.lineno} imports {each}"
                    for each in names
                    if each.partition(".")[0] not in HEAVY and each not in HEAVY_MODULES
                ]
    assert wrong == []
