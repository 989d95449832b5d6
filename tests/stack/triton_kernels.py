"""What ``test_triton_models.py`` asserts about, as one line of JSON: Triton computes on the CPU in a whole process."""

import json
import os
import sys
import warnings

os.environ["TRITON_INTERPRET"] = "1"

import k3torch  # noqa: F401
from k3torch.models.builders import boston_regressor
from k3torch.stack import graphs, stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.mapped_models import MappedModels
from k3torch.stack.triton_loops import TritonLoop
from k3torch.stack.triton_models import TritonModels
from k3torch.stack.triton_operators import ELEMENTWISE
from k3torch.stack.verified_stack import compare_with_keras
import keras
import numpy as np
import torch

MODELS = {
    "rmsprop": {},
    "momentum": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "loss": "mae", "activation": "tanh"},
    "adam": {"optimizer": "adam", "kernel_regularizer": "l2", "loss": "huber", "activation": "silu"},
    "nadam": {"optimizer": "nadam", "kernel_regularizer": "l1l2", "max_norm": 1.0, "activation": "gelu"},
    "lion": {"optimizer": "lion", "clipvalue": 0.01, "loss": "log_cosh", "activation": "elu"},
    "adamw": {"optimizer": "adamw", "clipnorm": 1.0, "activation": "softplus", "activity_regularizer": "l2"},
}
draw = np.random.default_rng(0)


def samples(*lengths, weighted=False):
    return [
        Samples(
            draw.standard_normal((n, 5), dtype="float32"),
            draw.standard_normal((n, 1), dtype="float32"),
            draw.random(n, dtype="float32") if weighted else None,
        )
        for n in lengths
    ]


def whole(batch, epochs=2, weighted=False, **options):
    """Train three models of unequal numbers of samples; return what differs from Keras and from ``fit``."""
    keras.utils.set_random_seed(0)
    training, validation = samples(9, 8, 6, weighted=weighted), samples(5, 3, 5, weighted=weighted)
    models = [boston_regressor(5, units=(20, 17), **options) for _ in training]
    for model in models:
        stateless.build(model, training[0].x, training[0].y, training[0].sample_weight)
    group = TritonModels(models, training, validation, batch)
    difference = compare_with_keras([group]).difference
    found = []
    for _ in range(epochs):
        group.load([np.arange(len(part)) for part in training])
        found.append((group.train(), group.validate()))
    group.write_back()
    weights = [model.get_weights() for model in models]
    return {"difference": difference, "error": _error(models, weights, found, training, validation, batch, options)}


def _error(models, weights, found, training, validation, batch, options):
    keras.utils.set_random_seed(0)
    largest = 0.0
    for number, (own, held) in enumerate(zip(training, validation, strict=True)):
        model = boston_regressor(5, units=(20, 17), **options)
        history = model.fit(
            own.x, own.y, sample_weight=own.sample_weight, batch_size=batch, epochs=len(found), shuffle=False,
            validation_data=tuple(held.arrays()), verbose=0,
        ).history  # fmt: skip
        pairs = list(zip(model.get_weights(), weights[number], strict=True))
        for row, name in enumerate(stateless.metric_names(models[number])):
            for epoch, (trained, validated) in enumerate(found):
                pairs += [(history[name][epoch], trained[row, number])]
                pairs += [(history[f"val_{name}"][epoch], validated[row, number])]
        largest = max(largest, *(float(np.max(np.abs(a - b) / (1 + np.abs(a)))) for a, b in pairs))
    return largest


def beside_mapped(models, batch, lengths=(37, 32, 20)):
    """Return by how much models of these numbers of samples differ from those that operators of torch train."""
    keras.utils.set_random_seed(0)
    parts = samples(*[lengths[number % len(lengths)] for number in range(models)])
    made = [boston_regressor(5, units=(20, 17)) for _ in parts]
    for model in made:
        stateless.build(model, parts[0].x, parts[0].y)
    orders = [draw.permutation(len(part)) for part in parts]
    found = []
    for kind in (TritonModels, MappedModels):
        group = kind(made, parts, parts, batch)
        group.load(orders)
        metrics = [torch.from_numpy(group.train()), torch.from_numpy(group.validate())]
        found.append(metrics + [tensor for number in range(models) for tensor in group.state(number)])
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in zip(*found, strict=True))


def operator_error(operator):
    """Return by how much an operator on odd numbers of elements differs from torch's, at most."""
    kinds = [str(argument.type) for argument in operator._schema.arguments if not argument.has_default_value()]
    count = sum(kind == "Tensor" for kind in kinds)
    numbers = [1.5 if kind in ("number", "float") else None for kind in kinds]
    positive = operator.name().partition(".")[0] in ("aten::log", "aten::log1p", "aten::sqrt", "aten::rsqrt")
    tensors = [torch.from_numpy(draw.standard_normal((5, 3), dtype="float32")) for _ in range(count)]
    logical = operator.name().startswith(("aten::bitwise", "aten::logical"))
    tensors = [tensor.abs() if positive else tensor for tensor in tensors]
    tensors[0].flatten()[0] = tensors[-1].flatten()[0]  # equal elements, for comparisons

    def step(*inputs):
        *given, result, seed = inputs
        given = [tensor > 0 if logical else tensor for tensor in given]
        if operator is torch.ops.aten.where.self:
            given[0] = given[0] > 0
        remaining = iter(given)
        arguments = [
            next(remaining) if kind == "Tensor" else number for kind, number in zip(kinds, numbers, strict=True)
        ]
        result.copy_(operator(*arguments))
        seed.add_(1)

    inputs = [*tensors, torch.zeros(5, 3), torch.zeros((), dtype=torch.int64)]
    graph = graphs.trace(step, inputs)
    expected = [tensor.clone() for tensor in inputs]
    graph(*expected)
    state = [tensor[None].clone() for tensor in inputs[:-1]]
    once = torch.ones(1, dtype=torch.int64)
    TritonLoop(graph, len(state), torch.device("cpu")).run(state, [], once[:, None, None], once)
    return float((state[-1][0] - expected[-2]).abs().max())


LOOKS = {
    **{f"{name}, batches of {b}": lambda b=b, o=o: whole(b, **o) for name, o in MODELS.items() for b in (1, 4)},
    "sample weights": lambda: whole(4, weighted=True),
    **{f"{m} models, batches of {b}": lambda m=m, b=b: beside_mapped(m, b) for m in (1, 3) for b in (16, 32)},
    "128 models, batches of 16": lambda: beside_mapped(128, 16, (18, 16, 5)),
    "operators": lambda: {str(operator): operator_error(operator) for operator in ELEMENTWISE},
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({name: LOOKS[name]() for name in sys.argv[1:] or LOOKS}))
