from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('scoring', '0002_answers_from_evidence'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='rate_burst',
            field=models.PositiveIntegerField(blank=True, help_text='decisions at once; empty: those of a second', null=True),
        ),
        migrations.AddField(
            model_name='apikey',
            name='rate_per_second',
            field=models.FloatField(blank=True, help_text="decisions a second; 0: no limit, empty: the settings'", null=True),
        ),
    ]
