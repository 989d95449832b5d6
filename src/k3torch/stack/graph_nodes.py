"""What the operators of a traced graph do besides returning a tensor."""

import torch


def writes(node: torch.fx.Node) -> bool:
    """Return whether an operator writes into one of its arguments."""
    schema = getattr(node.target, "_schema", None)
    return bool(schema is not None and schema.is_mutable)


def draws(node: torch.fx.Node) -> bool:
    """Return whether an operator draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
