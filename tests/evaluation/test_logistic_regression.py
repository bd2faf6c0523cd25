"""Logistic regression: fits of scikit-learn, selection of the penalty, rejected arguments."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.preprocessing import StandardScaler

from bam_mm import InputError
from bam_mm.evaluation import (
    PENALTIES,
    LogisticModel,
    accuracy_of,
    fit_logistic_regression,
    logistic_regression_sweep,
    mean_per_class_accuracy,
    top1_accuracy,
)
from bam_mm.evaluation.penalty_sweep import _start


def table(n, classes=4, width=8, noise=3.0, seed=0, centres_seed=0):
    centres = torch.randn(
        classes, width, generator=torch.Generator().manual_seed(centres_seed)
    ).double()
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return centres[labels] + noise * torch.randn(n, width, generator=g).double(), labels


def sklearn_fit(features, labels, penalty, tol=1e-7):
    model = LogisticRegression(C=1 / penalty, tol=tol, max_iter=5000)
    return model.fit(features.numpy(), labels.numpy())


def test_penalties_of_the_protocol():
    assert len(PENALTIES) == 45
    np.testing.assert_allclose(PENALTIES, np.logspace(-6, 5, 45), rtol=1e-12)


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("classes", [2, 4])
def test_weights_and_predictions_equal_those_of_scikit_learn(penalty, classes):
    (features, labels), (unseen, _) = table(240, classes), table(500, classes, seed=1)
    model = fit_logistic_regression(
        features, labels, num_classes=classes, penalty=penalty, tolerance=1e-7
    )
    theirs = sklearn_fit(features, labels, penalty)
    weight, bias = model.weight.numpy(), model.bias.numpy()
    if classes == 2:  # scikit-learn has a single row, which is the difference of the two rows here
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    else:
        bias = bias - bias.mean()
    np.testing.assert_allclose(weight, theirs.coef_, atol=2e-5)
    intercept = theirs.intercept_ - (theirs.intercept_.mean() if classes > 2 else 0)
    np.testing.assert_allclose(bias, intercept, atol=2e-5)
    assert model.converged
    np.testing.assert_array_equal(model.predict(unseen).numpy(), theirs.predict(unseen.numpy()))


def test_the_objective_by_hand():
    # For two images, one feature and two classes, W = (-w, w) and the bias is zero by symmetry. The
    # objective 2 log(1 + exp(-2 w)) + (2 penalty) w^2 is minimal where penalty w = sigmoid(-2 w).
    model = fit_logistic_regression(
        torch.tensor([[-1.0], [1.0]]).double(),
        torch.tensor([0, 1]),
        num_classes=2,
        penalty=0.5,
        tolerance=1e-9,
    )
    w = model.weight[1].item()
    assert 0.5 * w == pytest.approx(1 / (1 + np.exp(2 * w)), abs=1e-7)
    assert model.weight[0].item() == pytest.approx(-w, abs=1e-7)
    assert model.bias.abs().max() < 1e-7


def test_splitting_rows_and_the_dtype_change_little(monkeypatch):
    features, labels = table(300)
    settings = dict(num_classes=4, penalty=1.0, tolerance=1e-6)
    whole = fit_logistic_regression(features, labels, **settings)
    single = fit_logistic_regression(features.float(), labels, **settings)
    monkeypatch.setattr("bam_mm.evaluation.logistic_regression.ROWS_AT_ONCE", 64)
    parts = fit_logistic_regression(features, labels, **settings)
    torch.testing.assert_close(parts.weight, whole.weight, atol=1e-8, rtol=0)
    torch.testing.assert_close(single.weight, whole.weight, atol=1e-4, rtol=0)
    start = fit_logistic_regression(features, labels, start=whole, **settings)
    assert start.iterations <= 1 < whole.iterations


@pytest.mark.parametrize("metric", ["top1", "mean_per_class"])
@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_sweep_equals_the_protocol_with_scikit_learn(metric, scaling):
    train, val, test = (table(n, seed=s, noise=4.0) for n, s in ((150, 1), (93, 2), (401, 3)))
    kept = torch.arange(401) % 5 > 0  # classes of different sizes
    kept[1::4] = False
    kept[1:80:4] = True
    test = test[0][kept], test[1][kept]
    penalties = [1e-4, 1e-2, 1, 10, 100, 1000, 1e5]
    fits = []
    sweep = logistic_regression_sweep(
        train, val, test, num_classes=4, metric=metric, penalties=penalties, scaling=scaling,
        tolerance=1e-7, on_fit=lambda model, score: fits.append((model.penalty, score)),
    )  # fmt: skip

    def score(fitted, unseen, penalty):
        scaler = StandardScaler(with_mean=scaling != "none", with_std=scaling != "none")
        x = torch.from_numpy(scaler.fit_transform(fitted[0].numpy()))
        found = sklearn_fit(x, fitted[1], penalty).predict(scaler.transform(unseen[0].numpy()))
        if metric == "mean_per_class":
            return balanced_accuracy_score(unseen[1].numpy(), found)
        return (found == unseen[1].numpy()).mean()

    curve = [score(train, val, p) for p in penalties]
    assert sweep.penalties == tuple(penalties) and sweep.val_scores == pytest.approx(curve)
    assert fits == list(zip(penalties[::-1], sweep.val_scores[::-1], strict=True))
    best = max(p for p, s in zip(penalties, curve, strict=True) if s == max(curve))
    assert sweep.penalty == best and sweep.val_score == pytest.approx(max(curve))
    both = tuple(torch.cat(pair) for pair in zip(train, val, strict=True))
    assert sweep.test_score == pytest.approx(score(both, test, best))
    assert sweep.test_score != pytest.approx(score(train, test, best))  # it was refitted
    assert not sweep.at_end and sweep.warnings() == []


def model_at(penalty, weight, bias):
    weight, bias = torch.tensor([weight]).double(), torch.tensor([bias]).double()
    return LogisticModel(weight, bias, penalty, iterations=0, converged=True)


def test_each_fit_starts_at_extrapolated_weights():
    # Weights are proportional to log10(penalty): 1000 -> 3, 100 -> 2, so 10 -> 1, 10 ** 1.5 -> 1.5.
    first, second = model_at(1000.0, [3.0, 6.0], 9.0), model_at(100.0, [2.0, 4.0], 6.0)
    assert _start([], 10.0) is None and _start([first], 10.0) is first
    # The last penalty is far away, but the extrapolation goes no further than the last step.
    for penalty, weight in ((10.0, 1.0), (10**1.5, 1.5), (1e-5, 1.0)):
        start = _start([first, second], penalty)
        torch.testing.assert_close(start.weight, torch.tensor([[weight, 2 * weight]]).double())
        torch.testing.assert_close(start.bias, torch.tensor([3 * weight]).double())


def test_extrapolation_saves_iterations_and_keeps_the_optimum(monkeypatch):
    tables = [table(n, width=64, seed=s, noise=4.0) for n, s in ((200, 1), (200, 2), (50, 3))]
    models, plain = [], []
    path = logistic_regression_sweep(
        *tables, num_classes=4, on_fit=lambda model, score: models.append(model)
    )
    monkeypatch.setattr(
        "bam_mm.evaluation.penalty_sweep._start", lambda fitted, p: fitted[-1] if fitted else None
    )
    last = logistic_regression_sweep(
        *tables, num_classes=4, on_fit=lambda model, score: plain.append(model)
    )
    assert sum(path.iterations) < 0.85 * sum(last.iterations)
    for a, b in zip(models, plain, strict=True):
        # The penalty bounds the distance of both fits from the optimum, given the 256 entries of a
        # gradient of 1e-5 over 200 images.
        bound = 2 * 256**0.5 * 1e-5 * 200 / a.penalty
        assert (a.weight - b.weight).norm() < 1.5 * bound, a.penalty


def test_warning_about_a_penalty_at_an_end():
    train, val, test = (table(n, seed=s, noise=4.0) for n, s in ((120, 1), (80, 2), (80, 3)))
    sweep = logistic_regression_sweep(train, val, test, num_classes=4, penalties=[1e4, 1e5])
    assert sweep.at_end
    assert "1e+05, is the highest of the range 1e+04 to 1e+05" in sweep.warnings()[0]
    sweep = logistic_regression_sweep(
        train, val, test, num_classes=4, penalties=[1e-6, 1e-5, 1.0], max_iter=2
    )
    assert "had not converged after 2 iterations" in sweep.warnings()[-1]


def test_test_images_do_not_affect_the_selection():
    train, val, test = (table(n, seed=s, noise=4.0) for n, s in ((120, 1), (80, 2), (80, 3)))
    one = logistic_regression_sweep(train, val, test, num_classes=4, penalties=[0.1, 10, 1000])
    shuffled = test[0], test[1].flip(0)
    two = logistic_regression_sweep(train, val, shuffled, num_classes=4, penalties=[0.1, 10, 1000])
    assert (one.penalty, one.val_scores) == (two.penalty, two.val_scores)
    torch.testing.assert_close(one.model.weight, two.model.weight, rtol=0, atol=0)
    assert one.test_score != two.test_score


def test_accuracies_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    predictions = torch.tensor([0, 0, 0, 1, 1, 0, 2])
    assert top1_accuracy(predictions, labels) == pytest.approx(5 / 7)
    assert mean_per_class_accuracy(predictions, labels, num_classes=3) == pytest.approx(0.75)
    with pytest.raises(InputError, match="class 3 has no image to be scored on"):
        mean_per_class_accuracy(predictions, labels, num_classes=4)
    with pytest.raises(InputError, match="metric='top5': choose 'top1' or 'mean_per_class'"):
        accuracy_of("top5", predictions, labels, num_classes=3)
    with pytest.raises(InputError, match="one prediction for each"):
        top1_accuracy(predictions[1:], labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(labels=torch.arange(40) % 3), "class 3 of 4 has no training image"),
        (dict(labels=torch.arange(40) % 5), "row 4 is the first that is out of range"),
        (dict(labels=torch.arange(39) % 4), "one label for each of the 40 rows"),
        (dict(labels=torch.rand(40)), "pass integers"),
        (dict(penalty=0), "penalty=0: it must be above 0"),
        (dict(num_classes=1, labels=torch.zeros(40, dtype=int)), "needs at least two"),
    ],
)
def test_wrong_tables(change, words):
    features, labels = table(40)
    arguments = dict(features=features, labels=labels, num_classes=4, penalty=1.0) | change
    with pytest.raises(InputError, match=words):
        fit_logistic_regression(**arguments)


def test_wrong_sweeps():
    train, val, test = table(40), table(20), table(20)
    broken = val[0].clone()
    broken[7, 2] = float("nan")
    for change, words in [
        (dict(val=(broken, val[1])), "val: 1 of 20 rows are not finite, the first is row 7"),
        (dict(test=(test[0][:, :5], test[1])), "train has 8 features per image, test has 5"),
        (dict(penalties=[1.0, 1.0]), "several different ones"),
        (dict(scaling="pca"), "scaling='pca'"),
        (dict(metric="f1"), "metric='f1'"),
        (dict(val=(val[0], val[1] % 2), metric="mean_per_class"), "class 2, 3 has no image"),
    ]:
        arguments = dict(train=train, val=val, test=test, num_classes=4) | change
        with pytest.raises(InputError, match=words):
            logistic_regression_sweep(**arguments)
