"""Fused losses and metrics against Keras's, on exact numbers and with settings off their defaults."""

from k3torch.training.fused_losses import fused_loss, fused_metric, is_fusable
from keras import losses, metrics
import pytest
import torch

# Three samples of two outputs.
Y = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
Y_PRED = torch.tensor([[0.75, 0.5], [0.25, 0.0], [0.5, 1.0]])

SUPPORTED = {
    "binary crossentropy": losses.BinaryCrossentropy(),
    "mean squared error": losses.MeanSquaredError(),
    "mean absolute error": losses.MeanAbsoluteError(),
}
UNSUPPORTED = {
    "from logits": losses.BinaryCrossentropy(from_logits=True),
    "label smoothing": losses.BinaryCrossentropy(label_smoothing=0.1),
    "sum": losses.MeanSquaredError(reduction="sum"),
    "no reduction": losses.MeanAbsoluteError(reduction=None),
    "axis": losses.BinaryCrossentropy(axis=0),
    "Huber": losses.Huber(),
    "focal": losses.BinaryFocalCrossentropy(),
    "a function of the caller": losses.get(lambda y, y_pred: (y - y_pred) ** 2),
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_fused_loss_is_kerass(name):
    torch.testing.assert_close(fused_loss(SUPPORTED[name])(Y, Y_PRED), SUPPORTED[name](Y, Y_PRED), rtol=1e-5, atol=1e-6)


def test_exact_numbers():
    assert fused_loss(losses.MeanSquaredError())(Y, Y_PRED).item() == pytest.approx(0.625 / 6)
    assert fused_loss(losses.MeanAbsoluteError())(Y, Y_PRED).item() == pytest.approx(1.5 / 6)
    # -log of 0.75, 0.5, 0.75, 1, 0.5, 1, with outputs clipped to [1e-7, 1 - 1e-7].
    assert fused_loss(losses.BinaryCrossentropy())(Y, Y_PRED).item() == pytest.approx(0.326943, abs=1e-6)


def test_gradients_are_kerass():
    for loss in SUPPORTED.values():
        gradients = []
        for function in (fused_loss(loss), loss):
            y_pred = Y_PRED.clamp(0.1, 0.9).requires_grad_()
            function(Y, y_pred).backward()
            gradients.append(y_pred.grad)
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_other_settings_have_no_fused_loss(name):
    if hasattr(UNSUPPORTED[name], "_fn_kwargs"):
        assert fused_loss(UNSUPPORTED[name]) is None


METRICS = {
    "binary accuracy": lambda: metrics.BinaryAccuracy(),
    "threshold": lambda: metrics.BinaryAccuracy(threshold=0.7),
    "mae": lambda: metrics.MeanAbsoluteError(),
    "mse": lambda: metrics.MeanSquaredError(),
    "binary crossentropy": lambda: metrics.BinaryCrossentropy(),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_fused_metric_is_the_sum_over_samples(name):
    metric = METRICS[name]()
    metric.update_state(Y, Y_PRED)
    total = fused_metric(metric)(Y, Y_PRED)
    torch.testing.assert_close(total, metric.total.value, rtol=1e-5, atol=1e-6)
    assert metric.count.value == 3


def test_exact_accuracies():
    # 0.5 is no hit for a target of 1: outputs must be above the threshold.
    assert fused_metric(metrics.BinaryAccuracy())(Y, Y_PRED).item() == pytest.approx(5 / 2)
    assert fused_metric(metrics.BinaryAccuracy(threshold=0.8))(Y, Y_PRED).item() == pytest.approx(4 / 2)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.BinaryCrossentropy(from_logits=True),
        metrics.BinaryCrossentropy(label_smoothing=0.2),
        metrics.CategoricalAccuracy(),
        metrics.MeanMetricWrapper(lambda y, y_pred: y),
    ],
    ids=["from logits", "label smoothing", "categorical", "a function of the caller"],
)
def test_other_metrics_are_not_fused(metric):
    assert fused_metric(metric) is None


@pytest.mark.parametrize(
    ("y", "fits"),
    [
        (Y, True),
        (Y[:, :1], False),
        (Y[0], False),
        (Y.double(), False),
        (Y.long(), False),
        (Y[None], False),
    ],
)
def test_only_float32_matrices_of_one_shape_are_fusable(y, fits):
    assert is_fusable(y, Y_PRED) is fits
