"""The public API, below /api/v1/."""

from django.urls import path

from scoring.api.views.decide import BatchView, DecisionsView, DryRunView
from scoring.api.views.documents import RedocView, SchemaView, SwaggerView
from scoring.api.views.labels import LabelsView
from scoring.api.views.read import DecisionView, ExplanationView

app_name = "scoring"
urlpatterns = [
    path("decisions", DecisionsView.as_view(), name="decisions"),
    path("decisions/batch", BatchView.as_view(), name="decisions-batch"),
    path("decisions/dry-run", DryRunView.as_view(), name="decisions-dry-run"),
    path("decisions/<str:decision_id>", DecisionView.as_view(), name="decision"),
    path("decisions/<str:decision_id>/explanation", ExplanationView.as_view(), name="decision-explanation"),
    path("labels", LabelsView.as_view(), name="labels"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", SwaggerView.as_view(url_name="scoring:schema"), name="docs"),
    path("redoc", RedocView.as_view(url_name="scoring:schema"), name="redoc"),
]
