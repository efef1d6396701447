from django.db import migrations, models


def welcome(apps, schema_editor):
    customers = apps.get_model("shop", "Customer").objects.using(schema_editor.connection.alias)
    customers.create(name="first")
    customers.filter(email=None).update(email="somebody@example.org")


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.AddField("Customer", "email", models.EmailField(max_length=254, null=True)),
        migrations.RunPython(welcome, migrations.RunPython.noop),
        migrations.AlterField("Customer", "name", models.CharField(max_length=50, unique=True)),
        migrations.AlterField("Customer", "balance", models.DecimalField(max_digits=12, decimal_places=2, default=0)),
        migrations.AddField("Purchase", "note", models.TextField(default="")),
        migrations.AlterField("Purchase", "number", models.BigIntegerField(db_index=True)),
    ]
