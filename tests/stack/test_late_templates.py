"""Templates of GPU kernels are compiled when they are first used, and are then what they would have been."""

from k3torch.stack.late_templates import templates_compiled_late
from k3torch.stack.torch_internals import KERNEL_TEMPLATE, private_part


def test_a_template_is_compiled_at_its_first_use(monkeypatch):
    owner, compiled = private_part(KERNEL_TEMPLATE), []
    compile_template = owner._template_from_string

    def counted(source):
        compiled.append(source)
        return compile_template(source)

    monkeypatch.setattr(owner, "_template_from_string", staticmethod(counted))
    with templates_compiled_late():
        template = owner._template_from_string("{{ size }} values")
    assert compiled == []
    assert template.render(size=3) == "3 values"
    assert template.render(size=4) == "4 values"
    assert compiled == ["{{ size }} values"]
    assert owner._template_from_string("{{ size }}").render(size=5) == "5"  # after the block as before it
