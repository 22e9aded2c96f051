"""The parts of bench-accuracy on small data: folds, what is left out, when labels are known, one model out of several."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost

from scoring.engine import Forest
from scoring.features.schema import DAY_US, RISK_DELAY_US, current_schema
from scoring.features.state import FeatureState
from tests.benchmarks.accuracy.averaging import averaged_model
from tests.benchmarks.accuracy.delivery import UNKNOWN, LabelDelivery
from tests.benchmarks.accuracy.feature_groups import GROUPS, columns_of
from tests.benchmarks.accuracy.payments import Payments
from tests.benchmarks.accuracy.protocol import (
    TEST_DATES,
    VALIDATION_DATES,
    Fold,
    ProtocolError,
    figures,
    folds,
    rows_of_test_week,
)
from tests.benchmarks.accuracy.recipe import Chosen, Recipe, read_chosen, write_chosen
from tests.benchmarks.accuracy.search import results_table, run_trials
from tests.benchmarks.accuracy.search_space import KINDS, random_recipe
from tests.benchmarks.accuracy.stream import PaymentStream, program_without_model
from tests.benchmarks.accuracy.training import train, training_days
from tests.benchmarks.accuracy.validation import write_validation_rows

ROOT = Path(__file__).resolve().parents[2]
APRIL_1_US = 1_522_540_800_000_000
RECIPE = Recipe("days", 7, 0, 1.0, 5, 2, {"eta": 0.3, "max_depth": 3})


def payments_of(day, card, fraud, *, first_us: int = APRIL_1_US, terminal=0, amount=1_000, second=None) -> Payments:
    """Payments at noon of the given days, or at the given seconds of the day."""
    day = np.asarray(day, np.int64)
    n = len(day)
    second = np.full(n, 43_200) if second is None else np.asarray(second, np.int64)
    return Payments(
        occurred_us=first_us + day * DAY_US + second * 1_000_000,
        amount_minor=np.broadcast_to(np.asarray(amount, np.int64), n).copy(),
        card=np.broadcast_to(np.asarray(card, np.int32), n).copy(),
        terminal=np.broadcast_to(np.asarray(terminal, np.int32), n).copy(),
        fraud=np.broadcast_to(np.asarray(fraud, np.uint8), n).copy(),
    )


def random_payments(days: int, per_day: int, *, cards: int = 40, seed: int = 3, first_us: int = APRIL_1_US) -> Payments:
    """Busy cards and terminals, some of which turn bad for a while."""
    generator = np.random.default_rng(seed)
    n = days * per_day
    day = np.repeat(np.arange(days), per_day)
    terminal = generator.integers(0, 30, n)
    amount = generator.integers(100, 30_000, n)
    bad_terminal = (terminal + day // 25) % 10 == 0
    fraud = (amount > 27_000) | (bad_terminal & (generator.random(n) < 0.6))
    second = np.sort(generator.integers(0, 86_400, (days, per_day)), axis=1).ravel()
    return payments_of(
        day, generator.integers(0, cards, n), fraud, first_us=first_us, terminal=terminal, amount=amount, second=second
    )


# --- folds ----------------------------------------------------------------------------------------------------------


def test_published_dates_are_used_where_the_file_has_them():
    whole = payments_of(np.arange(183), 0, 0)
    assert [f.train_start for f in folds(whole, TEST_DATES)] == [115, 122, 129, 136]
    assert [f.train_start for f in folds(whole, VALIDATION_DATES)] == [80, 87, 94, 101]
    june = APRIL_1_US + 61 * DAY_US
    assert [f.train_start for f in folds(payments_of(np.arange(122), 0, 0, first_us=june), TEST_DATES)] == [54, 61, 68, 75]


def test_other_dates_give_folds_as_far_from_the_first_day():
    other_year = payments_of(np.arange(157), 0, 0, first_us=APRIL_1_US + 900 * DAY_US)
    assert [f.train_start for f in folds(other_year, TEST_DATES)] == [115, 122, 129, 136]


def test_a_file_that_is_too_short_is_refused_with_the_days_it_needs():
    with pytest.raises(ProtocolError, match=r"spans 156 days.* ends after day 157"):
        folds(payments_of(np.arange(156), 0, 0), TEST_DATES)


def test_a_test_week_starts_two_weeks_after_its_training_week():
    fold = Fold(115)
    assert (fold.train_end, fold.test_start, fold.test_end) == (122, 129, 136)
    assert date(2018, 4, 1).toordinal() + fold.test_start == date(2018, 8, 8).toordinal()


def test_cards_known_as_compromised_leave_the_test():
    fold = Fold(10)
    # Card 1: fraud in the training week. Card 2: fraud on day 17, known from test day 25 on. Card 3: never.
    days = [0, 12, 17] + [24, 25] * 3
    cards = [9, 1, 2, 1, 1, 2, 2, 3, 3]
    order = np.argsort(days, kind="stable")
    fraud = np.array([0, 1, 1, 0, 0, 0, 0, 0, 0])
    payments = payments_of(np.array(days)[order], np.array(cards)[order], fraud[order])
    kept = rows_of_test_week(payments, fold)
    assert [(int(payments.day[i]), int(payments.card[i])) for i in kept] == [(24, 2), (24, 3), (25, 3)]


def test_a_test_week_of_known_cards_alone_is_refused():
    with pytest.raises(ProtocolError, match="nothing to judge"):
        rows_of_test_week(payments_of([0, 10, 24, 30], 1, [0, 1, 0, 0]), Fold(10))


def test_a_week_without_fraud_cannot_be_judged():
    with pytest.raises(ProtocolError, match="cannot be judged"):
        figures(payments_of([1, 1], [0, 1], 0), np.arange(2), np.array([0.1, 0.2]))


# --- labels ---------------------------------------------------------------------------------------------------------


def test_a_label_is_delivered_once_its_delay_has_passed_and_not_before():
    payments = payments_of([0, 1, 2], 0, [0, 1, 1])
    state = FeatureState(max_lateness_days=0)
    state.process(payments.columns(slice(0, 3), state.tokens))
    labels = LabelDelivery(payments)
    due = int(payments.occurred_us[1]) + RISK_DELAY_US
    labels.deliver(due - 1, state)
    assert labels.known.tolist() == [0, UNKNOWN, UNKNOWN]
    labels.deliver(due, state)
    assert labels.known.tolist() == [0, 1, UNKNOWN]


def test_batches_see_what_single_payments_would_have_seen():
    payments = random_payments(25, 60)
    names = columns_of("all")
    batched, single = (PaymentStream(payments, names, 25, batch_rows=size) for size in (10_000, 1))
    batched.advance(program_without_model(), 25)
    single.advance(program_without_model(), 25)
    assert np.array_equal(batched.x, single.x, equal_nan=True)
    risk = batched.x[:, names.index("terminal.risk_fraud.7d")]
    assert np.nanmax(risk) > 3


def test_no_feature_depends_on_a_label_of_the_last_seven_days():
    payments = random_payments(25, 60)
    last = payments.rows_of_days(24, 25)
    recent = payments.occurred_us >= payments.occurred_us[last.start] - RISK_DELAY_US
    turned = replace(payments, fraud=np.where(recent, 1 - payments.fraud, payments.fraud).astype(np.uint8))
    rows = []
    for of in (payments, turned):
        stream = PaymentStream(of, columns_of("all"), 25)
        stream.advance(program_without_model(), 25)
        rows.append(stream.x[last.start : last.start + 1])
    assert np.array_equal(*rows, equal_nan=True)


def test_training_refuses_labels_that_are_not_known_yet():
    known = np.array([0, 1, UNKNOWN], np.int8)
    with pytest.raises(ProtocolError, match="not known yet"):
        train(RECIPE, np.zeros((3, len(columns_of("days"))), np.float32), known, threads=1)


def test_training_without_a_fraud_is_refused():
    with pytest.raises(ProtocolError, match="no fraud"):
        train(RECIPE, np.zeros((3, len(columns_of("days"))), np.float32), np.zeros(3, np.int8), threads=1)


def test_history_reaches_as_far_back_as_the_recipe_says_and_never_past_the_training_week():
    fold = Fold(115)
    assert training_days(fold, RECIPE) == (115, 122)
    assert training_days(fold, replace(RECIPE, history_days=60)) == (62, 122)
    assert training_days(fold, replace(RECIPE, history_days=10_000, first_day=30)) == (30, 122)
    assert training_days(fold, replace(RECIPE, history_days=10_000, first_day=120)) == (115, 122)


# --- models ---------------------------------------------------------------------------------------------------------


def test_an_averaged_model_is_the_mean_of_its_boosters_to_xgboost_and_to_the_program():
    generator = np.random.default_rng(5)
    names, columns = ("a", "unused", "b", "c", "never_kept"), ("c", "a", "b")
    x = generator.normal(size=(4_000, 3)).astype(np.float32)
    x[::9, 1] = np.nan
    fraud = (np.nan_to_num(x[:, 1]) + 0.5 * generator.normal(size=4_000) > 1.2).astype(np.uint8)
    rows = xgboost.QuantileDMatrix(x, fraud, feature_names=list(columns))
    settings = {"objective": "binary:logistic", "max_depth": 4, "subsample": 0.6}
    boosters = [xgboost.train(settings | {"seed": seed, "base_score": 0.2 + seed / 10}, rows, 20 + seed) for seed in range(3)]
    raw = averaged_model([bytes(b.save_raw("json")) for b in boosters], columns, names)

    wide = np.full((len(x), len(names)), np.nan, np.float32)
    wide[:, [names.index(name) for name in columns]] = x
    merged = xgboost.Booster()
    merged.load_model(bytearray(raw))
    told = merged.predict(xgboost.DMatrix(wide, feature_names=list(names)), output_margin=True)
    plain = xgboost.DMatrix(x, feature_names=list(columns))
    mean = np.mean([b.predict(plain, output_margin=True).astype(np.float64) for b in boosters], axis=0)
    assert merged.num_boosted_rounds() == 63
    np.testing.assert_allclose(told, mean, atol=5e-6)
    # XGBoost rounds each of its 63 additions to float32, ours are exact and rounded once
    np.testing.assert_allclose(Forest.from_xgboost(raw, names).margins(wide), told, rtol=1e-6, atol=1e-6)
    assert np.ptp(mean) > 3


def test_trained_program_reads_rows_of_the_whole_schema_and_ignores_empty_columns():
    names = columns_of("days")
    generator = np.random.default_rng(2)
    x = generator.normal(size=(3_000, len(names))).astype(np.float32)
    x[:, 3], x[:, 4] = np.nan, 7.0
    fraud = (x[:, 0] > 1.5).astype(np.int8)
    model = train(RECIPE, x, fraud, threads=1)
    assert set(names) - set(model.columns) == {names[3], names[4]}
    wide = np.full((len(x), current_schema().width), np.nan, np.float32)
    wide[:, [current_schema().index(name) for name in names]] = x
    told = model.margins(x[:, [names.index(name) for name in model.columns]])
    np.testing.assert_allclose(model.program("t").run(wide).margin, told, atol=1e-5)


def test_chosen_recipes_name_known_features_and_keep_to_their_days():
    chosen = read_chosen()
    assert {chosen.week.group, chosen.history.group} <= set(GROUPS)
    assert chosen.week.history_days == 7
    assert chosen.history.history_days > 7


def test_no_group_holds_what_the_simulator_knows():
    assert not [name for name in columns_of("all") if "scenario" in name.lower() or "label" in name.lower()]


# --- the search -----------------------------------------------------------------------------------------------------


def test_the_search_sees_the_validation_weeks_alone_and_judges_recipes_on_them(tmp_path):
    payments = random_payments(160, 60, cards=4_000)
    validation = write_validation_rows(payments, tmp_path)
    assert [f.train_start for f in validation] == [80, 87, 94, 101]
    assert len(np.load(tmp_path / "x.npy", mmap_mode="r")) == payments.rows_of_days(0, 122).stop
    assert len(np.load(tmp_path / "payments.npz")["fraud"]) == payments.rows_of_days(0, 122).stop
    recipes = [replace(RECIPE, boosters=1), RECIPE]
    trials = list(run_trials(tmp_path, "week", recipes, validation, jobs=1))
    assert sorted(t.recipe.boosters for t in trials) == [1, 2]
    assert all(t.mean.auc > 0.7 and 0 < t.merit < 2 for t in trials)
    assert "week: best 1 of 1 random recipes" in results_table(trials)


def test_random_recipes_are_the_same_for_the_same_seed_and_stay_in_their_kind():
    drawn = [[random_recipe(kind, np.random.default_rng(1)) for kind in KINDS] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0][0].history_days == 7 and drawn[0][1].history_days > 100


# --- the command ----------------------------------------------------------------------------------------------------


def write_file(path: Path, payments: Payments) -> None:
    n = len(payments)
    pq.write_table(
        pa.table(
            {
                "TRANSACTION_ID": np.arange(n),
                "TX_DATETIME": payments.occurred_us.astype("datetime64[us]"),
                "CUSTOMER_ID": payments.card,
                "TERMINAL_ID": payments.terminal,
                "TX_AMOUNT": payments.amount_minor / 100,
                "TX_TIME_SECONDS": (payments.occurred_us - payments.first_midnight_us) // 1_000_000,
                "TX_TIME_DAYS": payments.day,
                "TX_FRAUD": payments.fraud,
                "TX_FRAUD_SCENARIO": np.zeros(n, np.int8),
            }
        ),
        path,
    )


def command(path: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.accuracy", "--data", str(path), *options],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_the_command_ends_with_one_json_line_of_the_promised_figures(tmp_path):
    elsewhere_us = int(datetime.fromisoformat("2025-01-05T00:00:00+00:00").timestamp()) * 1_000_000
    write_file(tmp_path / "other.parquet", random_payments(160, 120, cards=4_000, first_us=elsewhere_us))
    write_chosen(Chosen(RECIPE, replace(RECIPE, history_days=60, good_share=0.5)), tmp_path / "recipes.json")
    done = command(tmp_path / "other.parquet", "--recipes", str(tmp_path / "recipes.json"))
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    for name in ("ap_7d", "cp100_7d", "auc_7d", "ap_all", "cp100_all", "auc_all"):
        assert 0 < last[name] <= 1
    assert last["margin_gap"] <= 1e-5
    # Large amounts are always fraud here, so a model that learned anything ranks far above chance.
    assert last["auc_7d"] > 0.7 and last["auc_all"] > 0.7
    assert "balanced bagging (published)" in done.stdout


def test_the_command_says_why_it_cannot_run(tmp_path):
    write_file(tmp_path / "short.parquet", random_payments(40, 20))
    done = command(tmp_path / "short.parquet")
    assert done.returncode == 1
    assert "spans 40 days" in done.stderr and "Traceback" not in done.stderr
    missing = command(tmp_path / "missing.parquet")
    assert missing.returncode == 1 and "Traceback" not in missing.stderr
