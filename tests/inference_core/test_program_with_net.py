"""A program with a net beside its forest: one margin, the same from every executor, and the same program without the net."""

from __future__ import annotations

import json

import numpy as np
import pytest

from inference_core import (
    ArtifactRefused,
    Blend,
    Forest,
    Outcome,
    ProgramError,
    Rule,
    SchemaMismatch,
    load_or_create_signing_key,
    load_program,
    load_verify_key,
    save_program,
)
from inference_core.compiler.compile import stages
from inference_core.compiler.draft import Draft
from inference_core.compiler.ir import NetPart, ProgramIR
from inference_core.compiler.tables.net_table import fixed_point
from inference_core.compiler.verify import check_numbers, evaluate
from inference_core.net import QuantisedNet
from kernels.score_rows import reference
from tests.inference_core.net.nets import random_net
from tests.inference_core.programs import RULES, SCHEMA, model_ubj, program

BLEND = Blend(0.6, 0.7, -0.25)


def net(names: tuple[str, ...] = ("count", "amount"), **changes) -> QuantisedNet:
    of = random_net(np.random.default_rng(3), names, members=4, widths=(128, 64), **changes)
    edges = tuple(np.sort(100 + 60 * of_one).astype(np.float32) for of_one in of.edges)
    return QuantisedNet(**{name: getattr(of, name) for name in of.__dataclass_fields__} | {"edges": edges})


def rows(of: QuantisedNet, count: int = 300) -> np.ndarray:
    """Rows of the schema, many of whose values lie on an edge of the net."""
    rng = np.random.default_rng(7)
    x = rng.uniform(-20, 220, (count, 2)).astype(np.float32)
    for f, edges in enumerate(of.edges):
        column = SCHEMA.index(of.feature_names[f])
        on = rng.random(count) < 0.4
        x[on, column] = rng.choice(edges, on.sum())
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


def same(ours, truth) -> None:
    for name in ("margin", "top_features", "top_contributions"):
        assert getattr(ours, name).tobytes() == getattr(truth, name).tobytes(), name
    assert ours.bits.hit.tobytes() == truth.bits.hit.tobytes()


def test_the_margin_is_the_blend_of_both():
    of = net()
    x = rows(of)
    forest = Forest.from_xgboost(model_ubj(), SCHEMA.names)
    expected = 0.6 * forest.margins(x).astype(np.float64) + 0.7 * of.logits(x[:, [1, 0]]) - 0.25
    result = program(net=of, blend=BLEND).run(x)
    np.testing.assert_allclose(result.margin, expected, atol=2e-6)
    assert np.abs(result.margin - 0.6 * forest.margins(x)).max() > 0.1, "the net says something"


def test_without_its_net_the_forest_takes_both_weights():
    of = net()
    x = rows(of)
    whole = program(net=of, blend=BLEND)
    forest = Forest.from_xgboost(model_ubj(), SCHEMA.names)
    np.testing.assert_allclose(whole.score(x, reduced=True).margin, 1.3 * forest.margins(x) - 0.25, atol=2e-6)
    assert whole.score(x, reduced=True).bits.hit.tobytes() == whole.score(x).bits.hit.tobytes()
    assert whole.has_reduced and not program().has_reduced
    with pytest.raises(ProgramError, match="no reduced program"):
        program().score(x, reduced=True)


def many_rules() -> tuple[Rule, ...]:
    """So many thresholds on one feature that it is spread over bin columns."""
    return tuple(
        Rule(f"r{i}", i, {"op": "gt", "args": [{"feature": "amount"}, {"number": i / 3}]}, None, Outcome.REVIEW, 0.1, "r", "test")
        for i in range(1, 600)
    )


@pytest.mark.parametrize("rules", [RULES, many_rules(), ()])
def test_every_executor_gives_the_bits_of_the_reference(rules):
    of = program(net=net(), blend=BLEND, rules=rules)
    x, lists = rows(net()), np.random.default_rng(1).random((300, 1)) < 0.5
    for executor, tables in ((of.executor, of.plan.tables), (of.reduced_executor, of.plan.reduced.tables)):
        truth = reference.score_rows(tables, x, lists, 2)
        for variant in executor.dynamic_variants():
            same(variant.run(x, lists, 2), truth)
        for i in range(40):
            one = executor.run(x[i : i + 1], lists[i : i + 1], 2)
            assert one.margin[0] == truth.margin[i] and one.top_features[0].tolist() == truth.top_features[i].tolist()


def test_edges_that_are_spread_over_columns_count_as_one_bin():
    plain, spread = program(net=net(), blend=BLEND, rules=()), program(net=net(), blend=BLEND, rules=many_rules())
    assert spread.plan.tables.cuts.columns > plain.plan.tables.cuts.columns == 2
    assert len(spread.plan.tables.net.column) > 2
    x = rows(net())
    assert plain.score(x).margin.tobytes() == spread.score(x).margin.tobytes()


def test_a_feature_without_edges_still_tells_that_it_is_missing():
    of = net(most_edges=0)
    assert all(len(edges) == 0 for edges in of.edges)
    alone = program(net=of, blend=Blend(0.0, 1.0))
    x = np.array([[1, 1], [np.nan, 1], [1, np.nan], [np.nan, np.nan]], np.float32)
    np.testing.assert_allclose(alone.score(x).margin, of.logits(x[:, [1, 0]]), atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 1e-7, 0.7, 50.0])
def test_all_stages_of_the_compiler_say_the_same(weight):
    of = net()
    forest = Forest.from_xgboost(model_ubj(), SCHEMA.names)
    ir = ProgramIR(2, 0, (), (), (), forest.trees, 0.5, net=NetPart(of, (1, 0), weight))
    x, lists = rows(of), np.zeros((300, 0), bool)
    expected = evaluate(Draft(ir), x, lists)
    for draft, _ in stages(Draft(ir)):
        check_numbers(expected, evaluate(draft, x, lists), 3e-6)


def test_a_weight_in_fixed_point():
    for weight in (1.0, 0.3, 1e-9, 12345.678, 2.0**28.9):
        multiplier, shift = fixed_point(weight)
        assert multiplier * 2.0**-shift == pytest.approx(weight, rel=2e-9) and multiplier < 2**31
    assert fixed_point(0.0)[0] == 0
    with pytest.raises(ProgramError, match="smaller unit"):
        fixed_point(2.0**29)


def test_an_explanation_tells_the_net_apart():
    of = program(net=net(), blend=BLEND)
    for row in rows(net(), 20):
        found, scored = of.explain(row), of.score(row[None], top=2)
        assert found.margin == pytest.approx(float(scored.margin[0]), abs=1e-5)
        assert found.margin == pytest.approx(found.bias + found.contributions.sum() + found.net, abs=1e-9)
        told = dict(zip(scored.top_features[0].tolist(), scored.top_contributions[0].tolist(), strict=True))
        if 2 in told:
            assert told[2] == pytest.approx(found.net, rel=1e-5)
    assert program().explain(rows(net(), 1)[0]).net is None


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ProgramError, match="come together"):
        program(net=net())
    with pytest.raises(ProgramError, match="come together"):
        program(blend=BLEND)
    with pytest.raises(ProgramError, match="beside a forest"):
        program(net=net(), blend=BLEND, forest=None)
    with pytest.raises(SchemaMismatch, match="colour"):
        program(net=net(("count", "colour")), blend=BLEND)


@pytest.fixture
def keys(tmp_path):
    return load_or_create_signing_key(tmp_path / "sign.pem", tmp_path / "verify.pem"), load_verify_key(tmp_path / "verify.pem")


def test_a_stored_program_comes_back_with_its_net(tmp_path, keys):
    given = program(net=net(), blend=BLEND)
    save_program(given, model_ubj(), tmp_path / "v1", keys[0], {})
    loaded = load_program(tmp_path / "v1", keys[1])
    x = rows(net())
    assert loaded.blend == BLEND
    for reduced in (False, True):
        same(loaded.score(x, reduced=reduced), given.score(x, reduced=reduced))
    golden = json.loads((tmp_path / "v1" / "golden.json").read_text())
    assert golden["reduced"]["answers"]["margin"] != golden["answers"]["margin"]


def test_a_changed_net_is_refused(tmp_path, keys):
    save_program(program(net=net(), blend=BLEND), model_ubj(), tmp_path / "v1", keys[0], {})
    path = tmp_path / "v1" / "net.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ArtifactRefused, match="net.safetensors was changed"):
        load_program(tmp_path / "v1", keys[1])
