"""The private parts of torch are named in one file, and their absence is a reason with a name."""

import ast
from pathlib import Path

import k3torch
from k3torch.stack import torch_internals
from k3torch.stack.reasons import CompilerChanged, CompilerUnavailable
from k3torch.stack.torch_internals import PRIVATE_PARTS, make_graph, private_part, private_use
import pytest
import torch


@pytest.mark.parametrize("path", PRIVATE_PARTS)
def test_this_version_of_torch_has_every_part(path):
    assert private_part(path) is not None


def test_every_part_is_used():
    source = Path(torch_internals.__file__).parent
    text = "".join(path.read_text() for path in source.glob("*.py"))
    names = [name for name, value in vars(torch_internals).items() if isinstance(value, str) and value in PRIVATE_PARTS]
    assert len(names) == len(PRIVATE_PARTS) == len(set(PRIVATE_PARTS))
    assert [name for name in names if f"({name})" not in text] == []


@pytest.mark.parametrize("path", ["torch.no_such_module:part", "torch:no_such.part", "torch._inductor.config:no_part"])
def test_a_missing_part_is_named(path):
    with pytest.raises(CompilerChanged) as caught:
        private_part(path)
    assert str(caught.value) == f"PyTorch {torch.__version__} has no {path.replace(':', '.')}"


def test_a_graph_is_traced_without_computing():
    x = torch.ones(3)
    graph = make_graph(lambda x: x.add_(1), [x])
    assert x.tolist() == [1, 1, 1]
    graph(x)
    assert x.tolist() == [2, 2, 2]


def test_private_errors_become_reasons_and_interrupts_pass(monkeypatch):
    with pytest.raises(CompilerChanged, match="TypeError: other"), private_use():
        raise TypeError("other\narguments")
    with (
        pytest.raises(CompilerUnavailable, match=r"^the C\+\+ compiler's files cannot .* \(No space left\)$"),
        private_use(),
    ):
        raise OSError(28, "No space left")
    with pytest.raises(KeyboardInterrupt), private_use():
        raise KeyboardInterrupt
    with pytest.raises(CompilerUnavailable, match="no compiler"), private_use():
        raise CompilerUnavailable("no compiler")


def test_no_other_file_uses_private_parts_of_torch():
    """Whatever is imported from, or read of, torch's private modules, is in torch_internals.py."""
    for path in Path(k3torch.__path__[0]).rglob("*.py"):
        if path.name in ("torch_internals.py", "inductor_cpp.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = {
                ast.Import: lambda n: [alias.name for alias in n.names],
                ast.ImportFrom: lambda n: [n.module or ""],
                ast.Attribute: lambda n: [ast.unparse(n)],
            }.get(type(node), lambda n: [])(node)
            for name in names:
                parts = name.split(".")
                private = [
                    part
                    for part in parts[1:]
                    # torch.utils._python_dispatch is documented, and fixed_randomness does without it.
                    if part.startswith("_") and not part.startswith(("__", "_foreach", "_python_dispatch"))
                ]
                assert not (parts[0] == "torch" and (private or "experimental" in parts)), f"{path.name}: {name}"
