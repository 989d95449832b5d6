"""Several graphs of one step, which differ in numbers, as one.

The graphs of two sizes of batches are equal node by node but for literals that depend on the size: these become linear
functions of the size, or its reciprocal. That the functions hold for other sizes is confirmed by the comparison with
Keras's own steps (``verified_stack``), on batches of each size that occurs. The graphs of two models with other
settings, such as another dropout rate, are equal but for literals of these settings: these become inputs.
"""

from collections.abc import Iterator, Sequence
import operator
from typing import Any

from k3torch.stack import lifted_numbers
from k3torch.stack.lifted_numbers import flattened
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.recorded_step import Variant
import torch
from torch.fx.node import map_aggregate

Tensor = torch.Tensor
aten = torch.ops.aten


class JoinedGraph:
    """Joins graphs of several batch sizes, and of several models, into one, node by node.

    Args:
        graphs: of one model, for each size.
        sizes: of batches.
        variants: of other models, for the first size.

    Attributes:
        constants: inputs of the joined graph, each with its value for each model.
    """

    def __init__(
        self,
        graphs: Sequence[torch.fx.GraphModule | Variant],
        sizes: Sequence[int],
        variants: Sequence[torch.fx.GraphModule | Variant] = (),
    ):
        self._graphs, self._sizes, self._variants = graphs, sizes, variants
        self._nodes = torch.fx.Graph()
        self._new: dict[torch.fx.Node, torch.fx.Node] = {}  # for each node of the first graph
        self._size: torch.fx.Node | None = None
        self.constants: list[list[Tensor]] = []
        self._numbers: dict[Any, torch.fx.Node] = {}  # the input for the values that the models have of a number

    def graph(self) -> torch.fx.GraphModule:
        """Return the joined graph: its inputs are those of the graphs, with constants and size before the last."""
        lists = [_nodes(graph) for graph in (*self._graphs, *self._variants)]
        if len({len(nodes) for nodes in lists}) > 1:
            raise _differ("numbers of operations")
        *placeholders, seed = [node for node in lists[0] if node.op == "placeholder"]
        for node in placeholders:
            self._new[node] = self._nodes.placeholder(node.name)
        last = placeholders[-1]
        constants = [nodes for nodes in zip(*lists, strict=True) if nodes[0].op == "get_attr"]
        lifted = {nodes[0]: self._lift(nodes) for nodes in constants}
        self._size = self._nodes.placeholder("batch_size")
        self._new[seed] = self._nodes.placeholder(seed.name)
        self._rows = self._new[last]  # of the last array of a batch
        for nodes in zip(*lists, strict=True):
            if nodes[0].op == "get_attr":
                self._new[nodes[0]] = lifted[nodes[0]] or self._constant(nodes)
            elif nodes[0].op != "placeholder":
                self._new[nodes[0]] = self._operation(nodes)
        return torch.fx.GraphModule(torch.nn.Module(), self._nodes)

    def _values(self, nodes: Sequence[torch.fx.Node]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the values of a constant for each size, and for each model."""
        pairs = zip((*self._graphs, *self._variants), nodes, strict=True)
        values = [_value(graph, str(node.target)) for graph, node in pairs]
        return values[: len(self._sizes)], [values[0], *values[len(self._sizes) :]]

    def _lift(self, nodes: Sequence[torch.fx.Node]) -> torch.fx.Node | None:
        """Make a constant of several numbers an input, so that the code does not depend on them."""
        values, of_models = self._values(nodes)
        differ = not all(torch.equal(values[0], other) for other in of_models)
        if not differ and (values[0].numel() == 0 or bool((values[0] == values[0].flatten()[0]).all())):
            return None
        if not all(torch.equal(values[0], other) for other in values):
            raise _differ("constants of several numbers" if not differ else "a number in which the models differ too")
        return self._input(of_models)

    def _input(self, of_models: Sequence[Tensor]) -> torch.fx.Node:
        """Return the input for a tensor of which each model has its own; one for all that have the same values."""
        key = None
        if len(of_models) > 1:
            key = (of_models[0].dtype, of_models[0].shape, *(tuple(v.flatten().tolist()) for v in of_models))
            if key in self._numbers:
                return self._numbers[key]
        self.constants.append([value.detach().clone() for value in of_models])
        name = f"constant_{len(self.constants)}"
        if self._size is None:
            node = self._nodes.placeholder(name)
        else:
            with self._nodes.inserting_before(self._size):
                node = self._nodes.placeholder(name)
        if key is not None:
            self._numbers[key] = node
        return node

    def _constant(self, nodes: Sequence[torch.fx.Node]) -> torch.fx.Node:
        """Return a constant that repeats one number, as ``aten.full``, which the compiler folds."""
        values, _ = self._values(nodes)
        value, numbers = values[0], [float(each.flatten()[0]) if each.numel() else 0.0 for each in values]
        if len({each.shape for each in values}) > 1:
            raise _differ("the shapes of constants")
        if any(number != numbers[0] for number in numbers[1:]):
            return self._nodes.call_function(
                aten.expand.default, (self._of_size_tensor(numbers, value.dtype), list(value.shape))
            )
        number = value.flatten()[0].item() if value.numel() else 0
        return self._nodes.call_function(aten.full.default, (list(value.shape), number), {"dtype": value.dtype})

    def _operation(self, nodes: Sequence[torch.fx.Node]) -> torch.fx.Node:
        first = nodes[0]
        if len({(node.op, node.target) for node in nodes}) > 1:
            raise _differ("operations")
        flat = [flattened((node.args, node.kwargs)) for node in nodes]
        if len(set(map(len, flat))) > 1:
            raise _differ("arguments")
        scalars, liftable = set(_scalar_positions(first)), lifted_numbers.liftable(first)
        target, leaves, lifted = first.target, [], False
        for position, all_values in enumerate(zip(*flat, strict=True)):
            values = all_values[: len(self._sizes)]
            of_models = [values[0], *all_values[len(self._sizes) :]]
            if isinstance(values[0], torch.fx.Node):
                if len({node.name for node in all_values}) > 1:
                    raise _differ("the order of operations")
                leaves.append(self._new[values[0]])
            elif not _same(of_models):
                if not _same(values) or position not in liftable:
                    raise _differ("a number in which the models differ too")
                leaves.append(self._number(first, of_models))
                lifted = True
            elif _same(values):
                leaves.append(values[0])
            elif position in scalars:
                target = _tensor_overload(target)
                leaves.append(self._of_size_tensor([float(value) for value in values], _float_type(first)))
            else:
                leaves.append(self._of_length(values))
        remaining = iter(leaves)
        args, kwargs = map_aggregate((first.args, first.kwargs), lambda _: next(remaining))
        if lifted:
            return lifted_numbers.call(self._nodes, first, args, kwargs)
        return self._nodes.create_node(first.op, target, args, kwargs, first.name)

    def _number(self, node: torch.fx.Node, of_models: Sequence[Any]) -> torch.fx.Node:
        kind = lifted_numbers.number_type(node, of_models)
        return self._input([torch.tensor(value, dtype=kind) for value in of_models])

    def _of_length(self, values: Sequence[Any]) -> torch.fx.Node:
        """Return a number of a shape as a function of the number of rows."""
        if not all(isinstance(value, int) for value in values):
            raise _differ("arguments")
        factor, summand = self._line(values)
        if not (factor.is_integer() and summand.is_integer()):
            raise _differ("a size that is no whole multiple of it")
        length = self._nodes.call_function(aten.sym_size.int, (self._rows, 0))
        node = length if factor == 1 else self._nodes.call_function(operator.mul, (length, int(factor)))
        return node if not summand else self._nodes.call_function(operator.add, (node, int(summand)))

    def _of_size_tensor(self, values: Sequence[float], dtype: torch.dtype) -> torch.fx.Node:
        """Return a number as a scalar tensor that is computed from the input ``batch_size``."""
        call = self._nodes.call_function
        assert self._size is not None
        size = call(aten.to.dtype, (self._size, dtype))
        factor, summand = self._line(values)
        if not dtype.is_floating_point:
            if dtype == torch.bool or not (factor.is_integer() and summand.is_integer()):
                raise _differ(f"a number of type {dtype}")
            factor, summand = int(factor), int(summand)
        products = [value * size for value, size in zip(values, self._sizes, strict=True)]
        if max(products) - min(products) <= 1e-6 * abs(products[0]):
            return call(aten.mul.Tensor, (call(aten.reciprocal.default, (size,)), products[0]))
        product = size if factor == 1 else call(aten.mul.Tensor, (size, factor))
        return product if not summand else call(aten.add.Tensor, (product, summand))

    def _line(self, values: Sequence[float]) -> tuple[float, float]:
        """Return factor and summand of the linear function of the size that gives these values."""
        (a, b), (x, y) = values, self._sizes
        factor = (b - a) / (y - x)
        return factor, a - factor * x


def _same(values: Sequence[Any]) -> bool:
    return all(type(value) is type(values[0]) and value == values[0] for value in values[1:])


def _scalar_positions(node: torch.fx.Node) -> Iterator[int]:
    """Yield the positions, among the flattened arguments, of numbers that are no sizes."""
    schema = getattr(node.target, "_schema", None)
    position = 0
    for number, argument in enumerate(node.args):
        kind = "" if schema is None else str(schema.arguments[number].type)
        if kind in ("number", "float") or (kind == "Tensor" and isinstance(argument, float)):
            yield position
        position += len(flattened(argument))


def _float_type(node: torch.fx.Node) -> torch.dtype:
    """Return the precision that an operator computes in."""
    dtype = getattr(node.meta.get("val"), "dtype", torch.float32)
    return dtype if dtype.is_floating_point else torch.float32


def _tensor_overload(target: Any) -> Any:
    """Return the operator that takes a tensor where ``target`` takes a number.

    Raises:
        UnsupportedGraph: if there is none.
    """
    name = str(getattr(target, "_overloadname", ""))
    if name not in ("Scalar", "Tensor") or "Tensor" not in target.overloadpacket.overloads():
        raise _differ(f"a number that {target} takes")
    return target.overloadpacket.Tensor


def _nodes(graph: torch.fx.GraphModule | Variant) -> list[Any]:
    return graph.nodes if isinstance(graph, Variant) else list(graph.graph.nodes)


def _value(graph: torch.fx.GraphModule | Variant, name: str) -> Tensor:
    value: Tensor = graph.constants[name] if isinstance(graph, Variant) else getattr(graph, name)
    return value


def _differ(what: str) -> UnsupportedGraph:
    return UnsupportedGraph(f"the step differs between batch sizes in {what}")
