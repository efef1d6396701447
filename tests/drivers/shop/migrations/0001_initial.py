from django.db import migrations, models
import django.db.models.deletion


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Customer",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=30)),
                ("balance", models.IntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            "Purchase",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("customer", models.ForeignKey("shop.Customer", on_delete=django.db.models.deletion.CASCADE)),
                ("number", models.IntegerField()),
                ("details", models.JSONField(default=dict)),
                ("at", models.DateTimeField()),
            ],
        ),
    ]
