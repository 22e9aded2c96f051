"""Rules with a stable id and immutable versions, and the lists that they name."""

from __future__ import annotations

from django.db import models


class Rule(models.Model):
    """The identity that reports, labels and snoozes refer to, whatever version is live."""

    rule_id = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.rule_id


class RuleVersion(models.Model):
    """One immutable wording of a rule: a typed expression tree, what it demands, and how it is told to a person."""

    class State(models.TextChoices):
        DRAFT = "draft"
        LIVE = "live"
        RETIRED = "retired"

    rule = models.ForeignKey(Rule, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.DRAFT)
    definition = models.JSONField(help_text="expression, requires, outcome, weight, reason, typology")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=80)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "version"], name="rule_version_once"),
            models.UniqueConstraint(fields=["rule"], condition=models.Q(state="live"), name="rule_one_live_version"),
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} v{self.version} ({self.state})"


class ListEntry(models.Model):
    """One value of a named list, such as blocked_devices; scoring.rules.lists says which field is looked up in which list."""

    list_name = models.SlugField(max_length=40)
    value = models.CharField(max_length=64)
    reason = models.CharField(max_length=200, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=80)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["list_name", "value"], name="list_value_once")]

    def __str__(self) -> str:
        return f"{self.list_name}: {self.value}"
