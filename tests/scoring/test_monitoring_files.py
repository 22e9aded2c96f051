"""deploy/prometheus and deploy/grafana ask for metrics that there are, in the form that their tools read."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scoring.decisions.schedule import new_scheduler
from scoring.histograms import COMMIT, PROGRAM
from scoring.metric_families import Families
from scoring.metrics import _counters_of, _gauges_of
from scoring.metrics_folder import Totals
from scoring.telemetry import EngineCounters
from tests.product_source import ROOT

RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "riskapp.json").read_text())
RECORDINGS = [rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
# What is no metric in an expression: functions, operators, and words between them.
WORDS = {"sum", "by", "rate", "max", "min", "increase", "absent", "histogram_quantile", "clamp_min", "and", "or", "on", "without"}
DURATION = re.compile(r"(\d+(ms|[smhd]))+")


class IdleEngine:
    """An engine that has done a little of everything."""

    program_version, refused_release, program_swaps = "rules-1", None, 0

    def __init__(self) -> None:
        self.state, self.counters = self, EngineCounters()
        self.counters.observe_latency(0.001)
        self.counters.stages.observe(COMMIT, 0.001, 1)
        self.counters.program_stages("cuda:0", "forest").observe(PROGRAM, 0.001, 1)
        self.counters.count_decisions(np.array([0]), 0)
        self.counters.scheduling = new_scheduler().figures
        self.counters.tick(self.counters._window[0][0] + 1.0)

    def event_count(self) -> int:
        return 0

    memory_bytes = event_count

    def shared_log_counters(self) -> dict[str, int]:
        return {"exchanges": 1}

    def shared_log_lost(self) -> int:
        return 0

    def ladder_counters(self):
        from scoring.engine import LadderCounters

        return LadderCounters()


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """Every sample name -> the labels that it can have."""
    engine = IdleEngine()
    registry = CollectorRegistry()
    registry.register(Families(Totals(_counters_of(engine), {"host:1": _gauges_of(engine, 0.0)})))
    text = generate_latest(registry).decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family.name
        suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}[family.type]
        for suffix in suffixes:
            found.setdefault(family.name + suffix, set())
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, set()) | set(sample.labels)
    return found


def metrics_of(expression: str) -> set[str]:
    """Return the names of the metrics in a PromQL expression."""
    without = re.sub(r"\[[^\]]*\]|\{[^}]*\}|\b(by|on|without)\s*\([^)]*\)", " ", expression)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", without)) - WORDS


def grouped_labels(expression: str) -> set[str]:
    return {label.strip() for labels in re.findall(r"\bby\s*\(([^)]*)\)", expression) for label in labels.split(",")}


@pytest.mark.parametrize("expression", [rule["expr"] for rule in RECORDINGS + ALERTS] + QUERIES)
def test_every_metric_and_label_that_is_asked_for_is_there(exposed, expression):
    recorded = {rule["record"] for rule in RECORDINGS}
    names = metrics_of(expression)
    assert names and names - exposed.keys() - recorded == set()
    labels = {"le"}.union(*(exposed[name] for name in names if name in exposed))
    # Labels that come only with data of their own, such as a volume or a device.
    assert grouped_labels(expression) <= labels | {"setting", "device"}
    assert expression.count("(") == expression.count(")")
    for window in re.findall(r"\[([^\]]*)\]", expression):
        assert DURATION.fullmatch(window)


def test_rules_have_the_form_that_prometheus_reads():
    """The fields of the recording and alerting rules in Prometheus' documentation, and none that it would refuse."""
    assert set(RULES) == {"groups"}
    for group in RULES["groups"]:
        assert set(group) <= {"name", "interval", "rules"} and group["rules"]
    for rule in RECORDINGS:
        assert set(rule) == {"record", "expr"} and re.fullmatch(r"[a-z_]+:[a-z_0-9]+:[a-z_0-9]+", rule["record"])
    for rule in ALERTS:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"]) and rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "remedy"}
        assert DURATION.fullmatch(rule.get("for", "1s"))
    names = [rule.get("record") or rule["alert"] for rule in RECORDINGS + ALERTS]
    assert len(names) == len(set(names))


def test_what_must_wake_somebody_is_watched():
    asked = " ".join(rule["expr"] for rule in ALERTS)
    watched = ("inference_latency_p99", "shed_share", "degraded_share", "queue_age", "outbox_lag", "disk_full", "breaker_state")
    assert [what for what in watched if what not in asked] == []


def test_the_dashboard_has_the_form_that_grafana_reads():
    assert DASHBOARD["uid"] == "riskapp" and DASHBOARD["schemaVersion"] >= 36
    ids, places = set(), set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"] and panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
        ids.add(panel["id"])
        places.add((panel["gridPos"]["x"], panel["gridPos"]["y"]))
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
    assert len(ids) == len(places) == len(DASHBOARD["panels"])


def test_a_wrong_name_would_be_found(exposed):
    assert metrics_of('sum by (x) (rate(risk_nonsense_total{a="b"}[1m])) / 2') - exposed.keys() == {"risk_nonsense_total"}
