from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0002_grow")]
    operations = [
        AddIndexConcurrently("Purchase", models.Index(fields=["at"], name="purchase_at")),
    ]
