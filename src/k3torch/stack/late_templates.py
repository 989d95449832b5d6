"""Importing torch's compiler without compiling its templates of GPU kernels.

Its modules compile some twenty templates with Jinja while they are imported, in a quarter of the time of the import. No
loop on the CPU needs one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from unittest import mock

from k3torch.stack.torch_internals import KERNEL_TEMPLATE, private_part


@contextmanager
def templates_compiled_late() -> Iterator[None]:
    """Have the templates of modules that are imported in the block compiled when they are first used."""
    owner = private_part(KERNEL_TEMPLATE)
    compile_template = owner._template_from_string
    late = staticmethod(lambda source: _LateTemplate(compile_template, source))
    with mock.patch.object(owner, "_template_from_string", late):
        yield


class _LateTemplate:
    """Acts as the template that ``compile_template(source)`` returns."""

    def __init__(self, compile_template: Callable[[str], Any], source: str):
        self._compile_template, self._source = compile_template, source

    @cached_property
    def _template(self) -> Any:
        return self._compile_template(self._source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._template, name)
