"""A small shop, for Django."""

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=50, unique=True)
    email = models.EmailField(null=True)
    balance = models.DecimalField(max_digits=12, decimal_places=2, default=0)


class Purchase(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE)
    number = models.BigIntegerField(db_index=True)
    note = models.TextField(default="")
    details = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["at"], name="purchase_at")]
