"""PostgreSQL: two of the indexes that each decision is put into are gone.

Django makes a second index for LIKE beside that of a unique text. Ids of decisions are looked up whole.
"""

from django.db import migrations

_IDS = ("decision_id", "transaction_id")


def _drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        table = apps.get_model("scoring", "Decision")._meta.db_table
        for column in _IDS:
            name = schema_editor._create_index_name(table, [column], suffix="_like")
            schema_editor.execute(f"DROP INDEX IF EXISTS {schema_editor.quote_name(name)}")


def _make(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        model = apps.get_model("scoring", "Decision")
        for column in _IDS:
            schema_editor.execute(schema_editor._create_like_index_sql(model, model._meta.get_field(column)))


class Migration(migrations.Migration):
    dependencies = [("scoring", "0005_entity_segments")]

    operations = [migrations.RunPython(_drop, _make)]
