from __future__ import annotations

from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubench.evaluation import selectors
from nubench.evaluation.selectors import (
    SELECTORS,
    Selector,
    SelectorInput,
    deep_embedded_validation,
    importance_weighted_validation,
    importance_weights,
    soft_neighbourhood_density,
    source_validation,
    target_accuracy,
    target_entropy,
)

BY_NAME = {selector.name: selector for selector in SELECTORS}


def _logs(rows: Any) -> Any:
    return np.log(np.asarray(rows, dtype=np.float64))


def _input(seed: int = 0, events: int = 60, dimensions: int = 3, classes: int = 4) -> SelectorInput:
    """Embeddings and predictions without any meaning."""
    rng = np.random.default_rng(seed)

    def embeddings(shift: float = 0.0) -> Any:
        return (rng.normal(size=(events, dimensions)) + shift).astype(np.float32)

    def predictions() -> Any:
        return _logs(rng.dirichlet(np.ones(classes), events))

    def labels() -> Any:
        return rng.integers(0, classes, events)

    return SelectorInput(
        train_embeddings=embeddings(),
        train_labels=labels(),
        val_embeddings=embeddings(),
        val_log_probabilities=predictions(),
        val_labels=labels(),
        target_embeddings=embeddings(0.5),
        target_log_probabilities=predictions(),
        target_labels=labels(),
    )


def test_source_validation_and_oracle_are_fractions_of_right_answers() -> None:
    predictions = _logs([[0.7, 0.3], [0.6, 0.4], [0.2, 0.8], [0.9, 0.1]])
    labels = np.array([0, 1, 1, 0])
    seen = replace(
        _input(events=4, classes=2),
        val_log_probabilities=predictions,
        val_labels=labels,
        target_log_probabilities=predictions,
        target_labels=1 - labels,
    )
    assert source_validation(seen) == 0.75
    assert target_accuracy(seen) == 0.25


def test_entropy_by_hand() -> None:
    seen = replace(
        _input(events=2, classes=2), target_log_probabilities=_logs([[0.5, 0.5], [0.25, 0.75]]), target_labels=None
    )
    expected = (0.5 * log(0.5) * 2 + 0.25 * log(0.25) + 0.75 * log(0.75)) / 2
    assert target_entropy(seen) == pytest.approx(expected)


def test_entropy_lies_between_certainty_and_ignorance() -> None:
    certain = np.array([[0.0, -np.inf], [0.0, -800.0]])
    # Infinities are refused where events come in, so certainty is what exp rounds to 0.
    certain[0, 1] = -1e30
    sure = replace(_input(events=2, classes=2), target_log_probabilities=certain)
    unsure = replace(_input(events=2, classes=2), target_log_probabilities=_logs(np.full((2, 2), 0.5)))
    assert target_entropy(sure) == 0
    assert target_entropy(unsure) == pytest.approx(-log(2))


def test_soft_neighbourhood_density_by_hand() -> None:
    # Unit vectors e1, e1, e2: cosines 1 between the first two, 0 with the third.
    seen = replace(
        _input(events=3, classes=2), target_log_probabilities=np.array([[0.0, -1e30], [0.0, -1e30], [-1e30, 0.0]])
    )
    near = np.exp(1 / 0.5) / (np.exp(1 / 0.5) + 1)
    of_pair = -near * log(near) - (1 - near) * log(1 - near)
    assert soft_neighbourhood_density(seen, temperature=0.5) == pytest.approx((2 * of_pair + log(2)) / 3)


def test_soft_neighbourhood_density_does_not_depend_on_slices_or_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _input(3)
    whole = soft_neighbourhood_density(seen)
    monkeypatch.setattr(selectors, "ROWS_AT_ONCE", 7)
    assert soft_neighbourhood_density(seen) == pytest.approx(whole, abs=1e-12)
    assert seen.target_log_probabilities is not None
    turned = replace(seen, target_log_probabilities=seen.target_log_probabilities[::-1, [2, 0, 3, 1]])
    assert soft_neighbourhood_density(turned) == pytest.approx(whole, abs=1e-12)


def test_soft_neighbourhood_density_prefers_clusters() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 4, 80)
    clustered = np.full((80, 4), 0.02)
    clustered[np.arange(80), classes] = 0.94
    scattered = rng.dirichlet(np.full(4, 0.5), 80)
    tight, loose = (replace(_input(events=80), target_log_probabilities=_logs(rows)) for rows in (clustered, scattered))
    assert soft_neighbourhood_density(tight) > soft_neighbourhood_density(loose)


def test_one_class_for_all_is_the_highest_score_of_entropy_and_density() -> None:
    """Their published weakness, as the documentation says."""
    one = np.tile([0.0, -1e30, -1e30, -1e30], (60, 1))
    seen = replace(_input(), target_log_probabilities=one)
    assert target_entropy(seen) == 0
    assert soft_neighbourhood_density(seen) == pytest.approx(log(59))


def test_importance_weights_are_the_ratio_of_two_gaussians() -> None:
    rng = np.random.default_rng(5)
    source = rng.normal(0.0, 1.0, (6000, 1))
    target = rng.normal(0.7, 1.0, (2000, 1))
    events = np.linspace(-1.5, 2, 8)[:, None]
    expected = np.exp(0.7 * events[:, 0] - 0.7**2 / 2)
    found = importance_weights(source, target, events)
    assert np.allclose(found, expected, rtol=0.12)
    assert importance_weights(source, target, rng.normal(size=(4000, 1))).mean() == pytest.approx(1, abs=0.06)


@given(seed=st.integers(0, 30))
def test_without_a_shift_weighted_validation_is_validation(seed: int) -> None:
    seen = _input(seed)
    same = replace(seen, target_embeddings=seen.train_embeddings)
    # Even weights, as good as the discriminator is blind: it is fitted on the same rows with both answers.
    assert importance_weighted_validation(same) == pytest.approx(source_validation(same), abs=1e-6)
    assert deep_embedded_validation(same) == pytest.approx(source_validation(same), abs=1e-4)


def test_constant_embeddings_give_even_weights_and_no_control() -> None:
    seen = _input()
    flat = np.ones((60, 3), np.float32)
    seen = replace(seen, train_embeddings=flat, val_embeddings=flat, target_embeddings=flat)
    assert importance_weighted_validation(seen) == pytest.approx(source_validation(seen))
    assert deep_embedded_validation(seen) == pytest.approx(source_validation(seen))


def test_deep_embedded_validation_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.array([0.5, 1.0, 2.0, 1.5])
    monkeypatch.setattr(selectors, "importance_weights", lambda *_: weights)
    right = _logs([[0.9, 0.1]])
    seen = replace(
        _input(events=4, classes=2),
        val_log_probabilities=np.repeat(right, 4, axis=0),
        val_labels=np.array([0, 1, 0, 1]),
    )
    weighted = np.array([0, 1.0, 0, 1.5])
    covariance = np.cov(weighted, weights, ddof=0)
    eta = -covariance[0, 1] / covariance[1, 1]
    assert importance_weighted_validation(seen) == pytest.approx(1 - 2.5 / 4)
    assert deep_embedded_validation(seen) == pytest.approx(1 - (2.5 / 4 + eta * 1.25 - eta))


def _covariate_shift(seed: int, boundary: float) -> SelectorInput:
    """A classifier with a step at ``boundary``, where the classes truly change at 0; the target lies to the right."""
    rng = np.random.default_rng(seed)

    def domain(centre: float, events: int) -> tuple[Any, Any, Any]:
        x = rng.normal(centre, 1.0, events)
        likely = (x > boundary).astype(int)
        rows = np.full((events, 2), 0.1)
        rows[np.arange(events), likely] = 0.9
        return x[:, None].astype(np.float32), _logs(rows), (x > 0).astype(np.int64)

    train, _, train_labels = domain(-1.0, 3000)
    val, val_rows, val_labels = domain(-1.0, 3000)
    target, target_rows, target_labels = domain(1.0, 1500)
    return SelectorInput(train, train_labels, val, val_rows, val_labels, target, target_rows, target_labels)


def test_importance_weights_choose_for_the_target_where_the_source_misleads() -> None:
    # Wrong between -1.5 and 0, where the source is, or between 0 and 1.5, where the target is.
    for_target, for_source = _covariate_shift(1, -1.2), _covariate_shift(1, 0.8)
    assert source_validation(for_source) > source_validation(for_target)
    for selector in (importance_weighted_validation, deep_embedded_validation, target_accuracy):
        assert selector(for_target) > selector(for_source)
        for seen in (for_target, for_source):
            assert selector(seen) == pytest.approx(target_accuracy(seen), abs=0.08)


def test_the_control_variate_takes_off_noise() -> None:
    errors: dict[Any, list[float]] = {importance_weighted_validation: [], deep_embedded_validation: []}
    for seed in range(12):
        seen = _covariate_shift(seed, 5.0)  # wrong for nearly half of the events: L and w are alike
        for selector, found in errors.items():
            found.append(selector(seen) - target_accuracy(seen))
    plain, controlled = (float(np.std(found)) for found in errors.values())
    assert controlled < 0.7 * plain


def test_only_the_oracle_is_handed_labels_of_the_target() -> None:
    seen = _input()
    given: list[bool] = []

    def score(seen: SelectorInput) -> float:
        given.append(seen.target_labels is not None)
        return 0.0

    for oracle in (False, True):
        Selector("mine", "a test", needs_target=True, oracle=oracle, score=score)(seen)
    assert given == [False, True]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_selector_says_what_it_needs(name: str) -> None:
    seen = _input()
    selector = BY_NAME[name]
    assert np.isfinite(selector(seen))
    source_only = replace(seen, target_embeddings=None, target_log_probabilities=None, target_labels=None)
    if selector.needs_target:
        with pytest.raises(ValueError, match="needs"):
            selector(source_only)
    else:
        assert np.isfinite(selector(source_only))
    if selector.oracle:
        with pytest.raises(ValueError, match="needs labels"):
            selector(replace(seen, target_labels=None))


def test_the_oracle_stands_apart() -> None:
    assert [selector.name for selector in SELECTORS if selector.oracle] == ["oracle"]
    assert SELECTORS[-1].oracle


def test_input_that_does_not_fit_together_is_refused() -> None:
    seen = _input()
    with pytest.raises(ValueError, match=r"val arrays must have one row .* 'val_labels': 3"):
        replace(seen, val_labels=np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="target_embeddings holds numbers that are not finite"):
        replace(seen, target_embeddings=np.full((60, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match="at least two target events"):
        soft_neighbourhood_density(_input(events=1))
