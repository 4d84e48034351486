"""The house has floors, and imports only point down. The list of floors is here."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A module of ray_easgd stands where its first name below ray_easgd says.
FLOORS = (
    (
        "words",
        {"users_code", "errors", "environment", "version", "protocol", "strict_json", "trace"},
    ),
    (
        "vocabulary",
        {
            *{
                "parameters",
                "config",
                "config_text",
                "sections",
                "ports",
                "topology",
                "moving_rate",
            },
            *{"schedules", "result", "progress", "journal", "pacer", "adaptive_period"},
            *{"divergence", "processes", "vitals", "series", "belongings", "random_state"},
        },
    ),
    ("mathematics", {"algorithms", "codec", "ledger", "kernels", "compiled", "theory", "tasks"}),
    (
        "machines and I/O",
        {
            *{
                "hub",
                "shared",
                "shared_hub",
                "saved_hub",
                "child",
                "link",
                "leases",
                "fleet",
                "doctor",
                "placement",
                "events",
                "recipe",
            },
            *{"wire", "staging", "telling", "apart", "intake", "freight", "audit", "incidents"},
            *{"notices", "storage", "checkpoint", "resumption", "run_folder", "tensorboard_curves"},
            *{"differing"},
        },
    ),
    ("what is learned", {"data", "models", "task", "evaluate", "rehearsal"}),
    (
        "loops",
        {
            *{"elastic", "elastic_options", "in_place", "one_way", "slices"},
            *{
                "edges",
                "aggregator",
                "session",
                "loop",
                "torch_optimizers",
                "local",
                "simulator",
                "planner",
            },
        },
    ),
    ("figures", {"figures", "peers"}),
    (
        "facade",
        {
            *{"seam", "report", "display", "page_server", "__init__"},
            *{"cli", "output", "cluster_cli", "submit_cli", "benchmarks_cli", "chaos_cli"},
            *{"doctor_cli", "notices_cli", "plan_cli", "reproduce_cli"},
            *{"dashboard", "dashboard_cli"},
        },
    ),
    ("actors", {"actors"}),
    ("jobs", {"jobs"}),
)
RANK = {name: rank for rank, (_, names) in enumerate(FLOORS) for name in names}
FACADE = dict(FLOORS)["facade"]

SUPERVISED_LOOPS = {"actors/worker.py", "actors/trainer.py", "ray_easgd/users_code.py"}
HEAVY = ("ray", "torch", "torchvision", "numba", "matplotlib")
LONGEST_FILE = 400


class Import(NamedTuple):
    """One import: what it names, and whether it runs when its module is imported."""

    target: str
    line: int
    at_once: bool


@cache
def packages_files(package: str) -> tuple[Path, ...]:
    return tuple(sorted((ROOT / package).rglob("*.py")))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """``ray_easgd/theory/roots.py`` is ``ray_easgd.theory.roots``; a package is its folder."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def component(dotted: str) -> str | None:
    """Where in the house a dotted name lives; None if outside."""
    package, _, rest = dotted.partition(".")
    if package == "ray_easgd":
        return rest.partition(".")[0] or "__init__"
    return package if package in {"actors", "jobs"} else None


def imports_in(tree: ast.AST, package: str, *, at_once: bool = True) -> Iterator[Import]:
    """Every import below a node, in the source of a module that lies in ``package``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from imports_in(ast.Module(node.body, []), package, at_once=False)
            yield from imports_in(ast.Module(node.orelse, []), package, at_once=at_once)
            continue
        yield from (Import(t, node.lineno, at_once) for t in targets(node, package))  # type: ignore[attr-defined]
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports_in(node, package, at_once=at_once and not later)


def targets(node: ast.AST, package: str) -> list[str]:
    """The dotted names that one node imports."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            parents = package.split(".")[: len(package.split(".")) - level + 1] if level else []
            origin = ".".join([*parents, *([module] if module else [])])
            return [member(origin, alias.name) for alias in names]
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
            return [name] if ast.unparse(func).endswith(("import_module", "__import__")) else []
    return []


def member(origin: str, name: str) -> str:
    """``from ray_easgd import errors`` names a module, ``import ElasticTrainer`` the facade."""
    is_module = origin == "ray_easgd" and name in RANK
    return f"{origin}.{name}" if is_module else origin


def imports_of(path: Path) -> list[Import]:
    name = name_of(path)
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    return list(imports_in(tree_of(path), package))


def points_up(source: str, found: Import) -> bool:
    target = component(found.target)
    if target is None or not found.at_once:
        return False
    return RANK.get(target, 0) > RANK.get(source, len(FLOORS))


def leaves_the_library(source: str, found: Import) -> bool:
    """Whether a module of ray_easgd that may not reach for Ray's side of the house does."""
    package = found.target.partition(".")[0]
    return package == "jobs" or (
        package in {"actors", "ray"} and (found.at_once or source not in FACADE)
    )


def catches_everything(node: ast.AST) -> bool:
    """A handler that swallows any error. To clean up and raise again is another matter."""
    match node:
        case ast.ExceptHandler(type=None, body=[*_, ast.Raise(exc=None)]):
            return False
        case ast.ExceptHandler(type=None):
            return True
        case ast.ExceptHandler(type=ast.expr() as caught, body=body):
            names = names_in(caught)
            reraises = isinstance(body[-1], ast.Raise) and body[-1].exc is None
            return "Exception" in names or ("BaseException" in names and not reraises)
        case ast.Call(func=func, args=args) if ast.unparse(func).endswith("suppress"):
            return any(names_in(arg) & {"Exception", "BaseException"} for arg in args)
    return False


def names_in(node: ast.expr) -> set[str]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return {ast.unparse(part).rpartition(".")[2] for part in parts}


def reads_environment(node: ast.AST) -> bool:
    words = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    match node:
        case ast.Attribute(attr=attr):
            return attr in words
        case ast.ImportFrom(module="os", names=names):
            return any(alias.name in words for alias in names)
    return False


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def own_files() -> list[Path]:
    return [p for package in ("ray_easgd", "actors", "jobs") for p in packages_files(package)]


def test_every_module_has_a_floor() -> None:
    homeless = {component(name_of(path)) for path in own_files()} - RANK.keys()
    assert not homeless, f"give {homeless} a floor: add the name to FLOORS in {__file__}"


def test_every_folder_is_an_ordinary_package() -> None:
    missing = {
        path.parent.relative_to(ROOT).as_posix()
        for path in own_files()
        if not (path.parent / "__init__.py").exists()
    }
    assert not missing, f"no __init__.py in {missing}"


def test_every_import_within_the_house_names_a_floor() -> None:
    unknown = [
        f"{where(path, found.line)} imports {found.target}"
        for path in own_files()
        for found in imports_of(path)
        if (target := component(found.target)) is not None and target not in RANK
    ]
    assert not unknown, f"no such module, or one without a floor: {unknown}"


def test_imports_point_down_or_sideways() -> None:
    upward = [
        f"{where(path, found.line)} imports {found.target}"
        for path in own_files()
        for found in imports_of(path)
        if points_up(component(name_of(path)) or "", found)
    ]
    assert not upward, f"imports that point up: {upward}"


def test_only_functions_of_the_facade_reach_for_ray_and_the_actors() -> None:
    reaching = [
        f"{where(path, found.line)} imports {found.target}"
        for path in packages_files("ray_easgd")
        for found in imports_of(path)
        if leaves_the_library(component(name_of(path)) or "", found)
    ]
    assert not reaching, f"the library runs without ray; give the value as an argument: {reaching}"


def test_actors_do_not_know_the_jobs() -> None:
    found = [i for path in packages_files("actors") for i in imports_of(path)]
    assert not [i for i in found if component(i.target) == "jobs"]


def test_only_environment_reads_environment_variables() -> None:
    readers = [
        where(path, node.lineno)  # type: ignore[attr-defined]
        for path in packages_files("ray_easgd")
        for node in ast.walk(tree_of(path))
        if reads_environment(node) and name_of(path) != "ray_easgd.environment"
    ]
    assert not readers, f"read it in ray_easgd/environment.py: {readers}"


def test_only_the_two_supervised_loops_catch_everything() -> None:
    greedy = [
        where(path, node.lineno)  # type: ignore[attr-defined]
        for path in own_files()
        for node in ast.walk(tree_of(path))
        if catches_everything(node) and path.relative_to(ROOT).as_posix() not in SUPERVISED_LOOPS
    ]
    assert not greedy, f"name the errors that are expected: {greedy}"


def test_no_file_has_outgrown_one_thing() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in own_files()}
    long = [where(path, n) for path, n in lengths.items() if n > LONGEST_FILE]
    assert not long, f"over {LONGEST_FILE} lines; is it still one thing? {long}"


def test_cited_sections_of_the_mathematics_exist() -> None:
    text = (ROOT / "docs" / "mathematics.md").read_text("utf-8")
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)*) ", text, flags=re.MULTILINE))
    cited = re.compile(r"mathematics\.md`*,?\s+(?:section )?(\d+(?:\.\d+)*)")
    dangling = [
        f"{path.relative_to(ROOT).as_posix()} cites {number}"
        for path in [*own_files(), *packages_files("tests")]
        for number in cited.findall(path.read_text("utf-8"))
        if number not in sections
    ]
    assert not dangling


@pytest.mark.parametrize(
    ("source", "line", "wrong"),
    [
        ("errors", "from ray_easgd.config import Config", True),
        ("errors", "from ray_easgd import config", True),
        ("errors", "import ray_easgd", True),
        ("errors", "from .hub import Hub", True),
        ("errors", "from . import hub", True),
        ("errors", "class A:\n    import ray_easgd.hub", True),
        ("errors", "try:\n    import actors\nexcept ImportError: pass", True),
        ("errors", "def f():\n    from ray_easgd.config import Config", False),
        ("errors", "if TYPE_CHECKING:\n    from ray_easgd.result import Result", False),
        ("errors", "if TYPE_CHECKING:\n    import json\nelse:\n    import ray_easgd.hub", True),
        ("hub", "from ray_easgd.errors import EasgdError", False),
        ("hub", "from ray_easgd import child, protocol", False),
        ("cli", "import actors.trainer", True),
        ("cli", "import ray_easgd", False),
        ("jobs", "import actors", False),
    ],
)
def test_the_floor_rule_tells_up_from_down(source: str, line: str, *, wrong: bool) -> None:
    found = list(imports_in(ast.parse(line), "ray_easgd"))
    assert any(points_up(source, i) for i in found) is wrong


@pytest.mark.parametrize(
    ("source", "line", "wrong"),
    [
        ("hub", "import ray", True),
        ("hub", "def f():\n    import ray.util", True),
        ("hub", "def f():\n    import_module('actors.trainer')", True),
        ("cli", "import ray", True),
        ("cli", "def f():\n    import ray", False),
        ("cli", "def f():\n    importlib.import_module('actors')", False),
        ("cli", "def f():\n    from jobs import train", True),
        ("hub", "import ray_easgd.errors", False),
    ],
)
def test_the_ray_rule_tells_the_facade_from_the_rest(
    source: str, line: str, *, wrong: bool
) -> None:
    found = list(imports_in(ast.parse(line), "ray_easgd"))
    assert any(leaves_the_library(source, i) for i in found) is wrong


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("try: f()\nexcept: pass", True),
        ("try: f()\nexcept Exception: raise", True),
        ("try: f()\nexcept (OSError, Exception): pass", True),
        ("try: f()\nexcept builtins.Exception: pass", True),
        ("with suppress(Exception): f()", True),
        ("try: f()\nexcept BaseException:\n    g()\n    raise", False),
        ("try: f()\nexcept OSError: pass", False),
    ],
)
def test_the_error_rule_tells_greedy_from_named(line: str, *, wrong: bool) -> None:
    assert any(catches_everything(node) for node in ast.walk(ast.parse(line))) is wrong


PROBE = """
import importlib, json, sys
import ray_easgd
light = sorted(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps({"light": light, "full": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def probe() -> dict[str, list[str]]:
    """What one fresh interpreter holds after ``import ray_easgd``, and after all its modules."""
    names = [name_of(path) for path in packages_files("ray_easgd") if path.stem != "__main__"]
    command = [sys.executable, "-c", PROBE, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def test_importing_the_package_imports_nothing_heavy(probe: dict[str, list[str]]) -> None:
    assert not set(HEAVY) & set(probe["light"])


def test_importing_every_module_of_the_library_leaves_ray_out(probe: dict[str, list[str]]) -> None:
    assert {"ray_easgd", "torch"} <= set(probe["full"])
    assert not {"ray", "actors"} & set(probe["full"])


def test_who_holds_a_handle_of_a_hub_needs_no_torch() -> None:
    """Ray imports the module of an actor's class wherever its handle arrives."""
    modules = "actors.controller, actors.center, actors.aggregator, actors.page, actors.live"
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == 0
