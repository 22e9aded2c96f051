"""The pipeline: rules and trees -> IR -> passes -> plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

from inference_core.compiler.draft import Draft
from inference_core.compiler.ir import NetPart, Tree
from inference_core.compiler.lower import lower_program
from inference_core.compiler.passes import common_predicates, constant_folding, cut_union, dead_rules, layout, tree_tiling
from inference_core.compiler.plan import Plan
from inference_core.compiler.tables.tree_table import node_covers
from inference_core.compiler.verify import check_structure
from inference_core.rules.definition import Rule
from inference_core.schema import FeatureSchema

PASSES: tuple[ModuleType, ...] = (constant_folding, dead_rules, common_predicates, tree_tiling, cut_union, layout)


def compile_program(
    schema: FeatureSchema,
    rules: tuple[Rule, ...],
    list_names: tuple[str, ...],
    trees: tuple[Tree, ...] | None,
    base: float = 0.0,
    net: NetPart | None = None,
) -> Plan:
    """Compile rules, trees and a net over the columns of a schema.

    Args:
        list_names: the order of the columns of the memberships.
        trees: a forest's trees, or None for rules alone.
        base: margin of a forest without trees.
        net: stands beside trees.

    Raises:
        RuleError: a rule is not well formed or too large for the tables; with the rule and the place.
        ProgramError: a tree does not fit the schema or the tables; with its number.
    """
    ir = replace(lower_program(schema, rules, list_names, trees, base), net=net)
    drafts, accounts = zip(*stages(Draft(ir)), strict=True)
    return Plan(drafts[-1].tables, node_covers(drafts[-1].ir), accounts)


def stages(draft: Draft) -> Iterator[tuple[Draft, str]]:
    """Yield the draft after each pass, its structure checked, with the pass's account."""
    check_structure(draft)
    for step in PASSES:
        draft, account = step.run(draft)
        check_structure(draft)
        yield draft, account
