"""The rules that hold for all files: where they are, what they import, how long they are, which words they use."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "k3torch"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES = 300

# The folders, lowest first: a module imports from its own folder and from lower ranks. "" is the package's own files.
RANKS = {
    "": 0,
    "data": 1,
    "models": 1,
    "training": 2,
    "stack": 3,
    "validation": 4,
    "reports": 4,
    "sklearn": 3,
    "serving": 5,
}
ENTRY_POINTS = {"__init__", "__main__"}  # these name modules of every folder

UNIX_ONLY = {"crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def name_of(path):
    """Return a module's dotted name below k3torch: "data.bags" for data/bags.py, "data" for data/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


def imported(tree):
    """Return the modules of k3torch that a syntax tree imports, wherever it does: names as in NAMES."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            # "from k3torch.stack import graphs" imports the module k3torch.stack.graphs
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = (name.removeprefix("k3torch.") for name in found if name.startswith("k3torch."))
    return {longest_module(name) for name in inside} - {""}


def longest_module(name):
    """Cut a dotted name back to the module in it: "data.bags.BagDataset" to "data.bags"."""
    while name and name not in NAMES and not (PACKAGE / name.replace(".", "/")).is_dir():
        name = name.rpartition(".")[0]
    return name


def imports_of(path):
    return imported(ast.parse(path.read_text(encoding="utf-8")))


def folder(name):
    first = name.partition(".")[0]
    return first if (PACKAGE / first).is_dir() else ""


def test_every_module_has_its_test_file():
    tested = [path.relative_to(PACKAGE) for path in MODULES if path.stem not in ENTRY_POINTS]
    expected = [ROOT / "tests" / path.with_name(f"test_{path.name.lstrip('_')}") for path in tested]
    missing = [str(path.relative_to(ROOT)) for path in expected if not path.exists()]
    assert not missing, ", ".join(missing)


def test_every_folder_has_its_rank():
    assert {folder(name) for name in NAMES} == set(RANKS)


def test_imports_run_one_way():
    wrong = [
        f"{name} imports {other}"
        for name, path in NAMES.items()
        if path.stem not in ENTRY_POINTS
        for other in sorted(imports_of(path))
        if folder(name) != folder(other) and RANKS[folder(name)] <= RANKS[folder(other)]
    ]
    assert not wrong, ", ".join(wrong)


def test_imports_have_no_cycle():
    graph = {name: imports_of(path) for name, path in NAMES.items() if path.stem not in ENTRY_POINTS}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"cycle: {' -> '.join(error.args[1])}")


def test_the_package_does_not_import_scripts():
    assert [
        name for name, path in NAMES.items() if re.search(r"\b(import|from) scripts\b", path.read_text("utf-8"))
    ] == []


def test_private_parts_of_keras_and_torch_are_imported_in_few_files():
    """A module that imports them fails where a later version lacks them; these files expect that."""
    private = re.compile(r"keras\.src\b|torch\._(inductor|dynamo|guards|functorch|subclasses)\b")
    expected = {"training/keras_internals.py", "training/saving.py", "stack/torch_internals.py"}
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(private.match(alias.name) for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and private.match(node.module))
    }
    assert found <= expected, found - expected


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import k3torch.data.bags", {"data.bags"}),
        ("from k3torch.data import bags, boston", {"data.bags", "data.boston"}),
        ("from k3torch.data.bags import BagDataset", {"data.bags"}),
        ("def f():\n    from k3torch import runtime", {"runtime"}),
        ("from k3torch import __version__\nimport keras", set()),
    ],
)
def test_imports_are_found(code, modules):
    assert imported(ast.parse(code)) == modules


def test_no_module_is_long():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > LINES} == {}


def test_nothing_unix_only_is_imported_at_module_level():
    """On Windows such an import fails; inside a function or under a condition it may have an alternative."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in [*MODULES, *(ROOT / "scripts").glob("*.py")]
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if (isinstance(node, ast.Import) and UNIX_ONLY & {alias.name for alias in node.names})
        or (isinstance(node, ast.ImportFrom) and node.module in UNIX_ONLY)
    ]
    assert not wrong, ", ".join(wrong)


# The word list of CONTRIBUTING.md, as far as a search can find the words; each with what to write instead. A word is
# found inside of names_like_this too.
WORDS = {
    r"(?<![a-z])figures(?![a-z])": "metrics, values, results; plots",
    r"(?<![a-z])pictures?(?![a-z])": "plots; images",
    r"\b(training|validation|test) rows": "samples",
    r"\ba person\b|\bsomebody\b": "the user, the caller",
    r"\b(an?|the|this|that|its|each|whose|test|validation) share\b|\bshares? of\b|_shares?\b": "fraction",
    r"(?<![a-z])walk(s|ed|ing)?(?![a-z])": "iterate over; batch loop",
    r"(?<![a-z])NotExact|(?<![a-z])MultiHotDense|\bnot exact\b": "Unsupported; SparseDense; not supported",
    r"\bshort way\b|\bfast way\b|\b(goes?|takes?) Keras's (own )?way\b": "fast path; falls back to Keras",
    r"``(pure|native|walks|formulas|updates)``": "the module's present name",
    r"machine code": "compiled C++ loop",
    r"\bsettle[sd]? anew\b": "checks that Keras repeats every step",
    r"\bwait(s|ed|ing)? for (the|a) device\b": "synchronises with the device",
    r"\btiny numbers\b": "denormals",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bh[eo]ld(s|ing)? (\w+ )?beside\b": "compare with",
    r"\bchoose another\b": "what to do, concretely, or nothing",
}
# Not the words of the list: the make target and its script, functions of Python, and the name of a class in old files.
ALLOWED = re.compile(
    r"^\.PHONY:.*|^figures:|make figures|k3torch figures|figures\.py|`figures`|[\"']figures[\"']"
    r"|\b(ast|os|path)\.walk\b|k3torch>MultiHotDense"
)

SEARCHED = [
    *MODULES,
    *(ROOT / "scripts").rglob("*.py"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "docs").rglob("*.py"),  # the texts of the notebooks; in an .ipynb, a plot's base64 may spell any word
    ROOT / "README.md",
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
]


def unwanted(text, pattern):
    """Return the numbers, from 1, of the lines in which the pattern occurs."""
    lines = enumerate(text.splitlines(), start=1)
    return [number for number, line in lines if re.search(pattern, ALLOWED.sub("", line), re.IGNORECASE)]


@pytest.mark.parametrize(("pattern", "instead"), WORDS.items(), ids=WORDS.values())
def test_texts_keep_to_the_word_list(pattern, instead):
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SEARCHED
        for number in unwanted(path.read_text(encoding="utf-8"), pattern)
    ]
    assert not found, f"write {instead} in {', '.join(found)}"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("the figures of an epoch", True),
        ("table: list[Figures]", True),
        ("run.history_figures", True),
        ("make figures", False),
        ('("figures", scripts)', False),
        ("figure, axes = plt.subplots()", False),
        ("the share of samples", True),
        ("test_share: float", True),
        ("backends share this; a shared axis", False),
        ("it walks through the rows", True),
        ("ast.walk(tree)", False),
        ("recommended, amended", False),
        ("Mends the shape", True),
        ("validation rows", True),
        ("rows of the matrix", False),
        ("to be held beside the lecture's", True),
        ("it goes Keras's own way", True),
        ("single-threaded, denormals flushed to zero", False),
    ],
)
def test_the_search_finds_these_lines(line, found):
    assert any(unwanted(line, pattern) for pattern in WORDS) is found


def test_texts_name_files_that_exist():
    """A path in a text, such as `training/custom_loop.py`, is relative to the project, the package or docs."""
    missing = []
    for text in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        content = re.sub(r"https?://\S+", "", text.read_text(encoding="utf-8"))
        for path in re.findall(r"(?<![\w./])((?:\.\./)?(?:\w+/)+\w+\.(?:py|md|toml|yml))\b", content):
            places = (text.parent, ROOT, PACKAGE)
            if not any((place / path).exists() for place in places):
                missing.append(f"{text.relative_to(ROOT)}: {path}")
    assert not missing, ", ".join(missing)
