"""Losses against plain loops in float64."""

import math

import pytest
import torch

from lightframe.errors import UsageError
from lightframe.losses import LOSSES
from lightframe.weighted_losses import build_losses

B, C = 5, 4
WEIGHTS = [0.5, 1.0, 2.0, 3.5]


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    outputs = 3 * torch.randn(B, C, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 1, 3])  # class 2 is absent
    soft = torch.rand(B, C, generator=generator, dtype=torch.float64)
    return outputs, labels, soft / soft.sum(1, keepdim=True)


def log_softmax(row):
    high = max(row)
    return [x - high - math.log(sum(math.exp(y - high) for y in row)) for x in row]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def one_hot(labels):
    return [[float(c == label) for c in range(C)] for label in labels.tolist()]


def close(result, expected):
    assert result.shape == ()
    assert result.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy(data, smoothing, weights):
    outputs, labels, soft = data
    loss = LOSSES.build("ce", label_smoothing=smoothing, class_weights=weights)
    w = weights or [1.0] * C
    log_p = [log_softmax(row) for row in outputs.tolist()]

    def nll(targets):  # sum over the samples of -sum_c w_c t_c log p_c
        smooth = [[t * (1 - smoothing) + smoothing / C for t in row] for row in targets]
        return sum(-w[c] * smooth[i][c] * log_p[i][c] for i in range(B) for c in range(C))

    # torch divides by the weights of the labels, but by the number of samples for probabilities
    close(loss(outputs, labels), nll(one_hot(labels)) / sum(w[y] for y in labels.tolist()))
    close(loss(outputs, labels.to(torch.uint8)), nll(one_hot(labels)) / sum(w[y] for y in labels.tolist()))
    close(loss(outputs, soft), nll(soft.tolist()) / B)


@pytest.mark.parametrize("pos_weight", [None, 2.0, WEIGHTS])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy(data, pos_weight, weights, smoothing):
    outputs, labels, soft = data
    loss = LOSSES.build("BCE", pos_weight=pos_weight, class_weights=weights, label_smoothing=smoothing)
    w = weights or [1.0] * C
    pos = pos_weight if isinstance(pos_weight, list) else [pos_weight or 1.0] * C

    def expected(targets):
        return mean(
            -w[c] * (pos[c] * t * math.log(sigmoid(x)) + (1 - t) * math.log(sigmoid(-x)))
            for row, target in zip(outputs.tolist(), targets, strict=True)
            for c, (x, t) in enumerate(zip(row, [y * (1 - smoothing) + smoothing / 2 for y in target], strict=True))
        )

    close(loss(outputs, labels), expected(one_hot(labels)))
    close(loss(outputs, soft), expected(soft.tolist()))
    close(loss(outputs, soft > 0.3), expected((soft > 0.3).double().tolist()))
    # The classes are dimension 1 also where more follow, here of the classes' own number.
    wide = outputs[:, :, None].expand(B, C, C)
    close(loss(wide, soft[:, :, None].expand(B, C, C)), expected(soft.tolist()))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25, WEIGHTS])
def test_focal_of_labels_and_its_gradient(data, gamma, alpha):
    outputs, labels, _ = data
    outputs.requires_grad_()
    a = alpha if isinstance(alpha, list) else [alpha or 1.0] * C
    loss = LOSSES.build("focal", gamma=gamma, alpha=alpha)(outputs, labels)
    p = [math.exp(log_softmax(row)[y]) for row, y in zip(outputs.tolist(), labels.tolist(), strict=True)]
    close(loss, mean(-a[y] * (1 - p_t) ** gamma * math.log(p_t) for p_t, y in zip(p, labels.tolist(), strict=True)))
    (gradient,) = torch.autograd.grad(loss, outputs)
    p_t = outputs.softmax(1)[torch.arange(B), labels]
    naive = (-torch.tensor(a, dtype=torch.float64)[labels] * (1 - p_t) ** gamma * p_t.log()).mean()
    torch.testing.assert_close(gradient, torch.autograd.grad(naive, outputs)[0], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_focal_of_multi_hot_and_of_a_single_output(data, alpha):
    outputs, _, soft = data
    targets = (soft > 0.3).long()

    def expected(x, t):
        p_t = sigmoid(x) if t else sigmoid(-x)
        a_t = 1.0 if alpha is None else alpha if t else 1 - alpha
        return -a_t * (1 - p_t) ** 1.5 * math.log(p_t)

    values = [
        [expected(x, t) for x, t in zip(row, target, strict=True)]
        for row, target in zip(outputs.tolist(), targets.tolist(), strict=True)
    ]
    loss = LOSSES.build("focal", gamma=1.5, alpha=alpha)
    close(loss(outputs, targets), mean(v for row in values for v in row))
    close(loss(outputs[:, :1], targets[:, 0]), mean(row[0] for row in values))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("label", [0, 1])
def test_focal_and_its_gradient_are_finite_at_certainty(gamma, label):
    outputs = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = LOSSES.build("focal", gamma=gamma)(outputs, torch.tensor([label]))
    loss.backward()
    assert loss.item() == pytest.approx(400 * label)
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize(("name", "error"), [("mse", lambda d: d * d), ("L1", abs)])
def test_regression(data, name, error):
    outputs, labels, soft = data
    loss = LOSSES[name]
    pairs = zip(outputs.flatten().tolist(), soft.flatten().tolist(), strict=True)
    close(loss(outputs, soft), mean(error(x - y) for x, y in pairs))
    column, values = outputs[:, 0], 10 * labels
    expected = mean(error(x - y) for x, y in zip(column.tolist(), values.tolist(), strict=True))
    for left, right in [(column[:, None], values), (column, values[:, None]), (column, values)]:
        close(loss(left, right), expected)
    hot = [t for row in one_hot(labels) for t in row]
    close(loss(outputs, labels), mean(error(x - t) for x, t in zip(outputs.flatten().tolist(), hot, strict=True)))


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "mse", "l1"])
def test_half_precision_outputs_are_widened(name):
    outputs = torch.full((2, 3), 300.0, dtype=torch.float16)  # 300 squared overflows float16
    assert build_losses(name)(outputs, torch.tensor([0, 1])).total.isfinite()
    assert build_losses(name)(outputs, torch.tensor([0, 1])).total.dtype == torch.float32


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "mse", "l1"])
@pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 3), (2, 1), ()])
def test_shapes_that_do_not_fit_are_named(name, shape):
    with pytest.raises(UsageError) as error:
        build_losses(name)(torch.zeros(2, 3), torch.zeros(shape))
    assert str(tuple(shape)) in str(error.value)
    assert "(2, 3)" in str(error.value)


@pytest.mark.parametrize("name", ["ce", "bce", "focal", "mse", "l1"])
def test_labels_out_of_range_and_outputs_that_are_no_tensor(name):
    with pytest.raises(UsageError, match="label 3 is out of range: with 3 classes"):
        build_losses(name)(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(UsageError, match="one tensor, not tuple"):
        build_losses(name)((torch.zeros(2, 3),), torch.tensor([0, 1]))


def test_binary_labels_beside_one_output():
    for name in ("bce", "focal"):
        with pytest.raises(UsageError, match="label 2 is out of range"):
            build_losses(name)(torch.zeros(2, 1), torch.tensor([0, 2]))
    with pytest.raises(UsageError, match="single logit use 'bce'"):
        build_losses("ce")(torch.zeros(2, 1), torch.tensor([0, 0]))


def test_cross_entropy_keeps_torchs_ignored_label(data):
    outputs, labels, _ = data
    loss = LOSSES.build("ce")
    ignoring = labels.where(labels != 3, -100)
    torch.testing.assert_close(loss(outputs, ignoring), loss(outputs[labels != 3], labels[labels != 3]))


def test_arguments_that_cannot_be():
    with pytest.raises(UsageError, match="for multi-hot targets use 'bce'"):
        build_losses("ce")(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.long))
    for name in ("ce", "bce"):
        with pytest.raises(UsageError, match="2 class weights do not fit outputs of shape \\(2, 3\\)"):
            build_losses({"name": name, "class_weights": [1, 2]})(torch.zeros(2, 3), torch.tensor([0, 1]))
        with pytest.raises(UsageError, match="label_smoothing must lie in"):
            build_losses({"name": name, "label_smoothing": 10})
    with pytest.raises(UsageError, match="a list for alpha with class indices"):
        build_losses({"name": "focal", "alpha": [1, 2, 3]})(torch.zeros(2, 3), torch.zeros(2, 3))


@pytest.mark.parametrize(("name", "argument"), [("ce", "class_weights"), ("bce", "pos_weight"), ("focal", "alpha")])
def test_class_weights_move_with_the_module_but_are_not_saved(name, argument):
    losses = build_losses({"name": name, argument: [1, 2, 3]})
    assert losses.state_dict() == {}
    assert losses.to("meta").losses[name].get_buffer(argument).device.type == "meta"
