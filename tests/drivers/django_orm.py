"""Django as projects use it: persistent connections in threads, atomic blocks, server-side cursors, migrations.

The fourth argument is the driver, psycopg or psycopg2.
"""

import sys
import threading
from datetime import datetime, timezone
from io import StringIO

DRIVER = sys.argv[4]
if DRIVER == "psycopg2":
    # Django takes psycopg 3 where it finds it.
    sys.modules["psycopg"] = None

import django
from django.conf import settings
from place import DATABASE, PORT, nobody_is_pinned


def database(options, **more):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": PORT,
        "USER": "alice",
        "NAME": DATABASE,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"sslmode": "disable", **options},
        **more,
    }


# The drivers number the levels differently.
REPEATABLE_READ = 2 if DRIVER == "psycopg2" else 3
DATABASES = {
    "default": database({}),
    "tokyo": database({"application_name": "tokyo"}, TIME_ZONE="Asia/Tokyo"),
    "repeatable": database({"isolation_level": REPEATABLE_READ}),
    "role": database({"assume_role": "alice"}, USER="carol"),
    "options": database({"options": "-c statement_timeout=50s -c search_path=nowhere,public -c client_encoding=latin1"}),
}
if DRIVER == "psycopg":
    DATABASES["prepared"] = database({"server_side_binding": True, "prepare_threshold": 1})

settings.configure(
    DATABASES=DATABASES,
    INSTALLED_APPS=["shop"],
    USE_TZ=True,
    TIME_ZONE="UTC",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.core.management import call_command
from django.db import DataError, Error, IntegrityError, OperationalError, connections, transaction
from django.db.models import F, Sum
from django.db.models.functions import TruncHour
from shop.models import Customer, Purchase

AT = datetime(2024, 3, 31, 1, 30, tzinfo=timezone.utc)
PARAMETERS = [
    "timezone", "client_encoding", "search_path", "statement_timeout", "application_name", "datestyle",
    "default_transaction_isolation", "transaction_isolation", "standard_conforming_strings", "role",
]


def setting_values(alias):
    with connections[alias].cursor() as cursor:
        values = []
        for name in PARAMETERS:
            cursor.execute(f"show {name}")
            values.append(cursor.fetchone()[0])
        cursor.execute("select current_user, session_user")
        return [*values, *cursor.fetchone()]


def schema():
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "select table_name, column_name, data_type, is_nullable, character_maximum_length"
            " from information_schema.columns where table_schema = 'public' order by 1, ordinal_position"
        )
        columns = cursor.fetchall()
        cursor.execute("select indexdef from pg_indexes where schemaname = 'public' order by 1")
        return columns, cursor.fetchall()


def migrations():
    for to in (["shop", "0001"], ["shop", "0002"], [], ["shop", "0001"], ["shop", "zero"], []):
        out = StringIO()
        call_command("migrate", *to, stdout=out, no_color=True)
        print(out.getvalue())
        print(schema())
        nobody_is_pinned()
    call_command("makemigrations", "--check", "--dry-run")


def purchases(customer, numbers):
    return [Purchase(customer=customer, number=n, at=AT, details={"n": [n, "o'neil \\ é"]}) for n in numbers]


def atomic_blocks(alias, name):
    customers = Customer.objects.using(alias)
    seen = []
    with transaction.atomic(using=alias):
        customer = customers.create(name=name, balance=10)
        try:
            with transaction.atomic(using=alias):
                customers.create(name=name)
        except IntegrityError as error:
            seen.append(type(error).__name__)
        try:
            with transaction.atomic(using=alias):
                customers.filter(name=name).update(balance=F("balance") / 0)
        except DataError as error:
            seen.append(type(error).__name__)
        with transaction.atomic(using=alias):
            customers.filter(pk=customer.pk).update(balance=F("balance") + 1)
    try:
        with transaction.atomic(using=alias):
            customers.filter(name=name).update(balance=0)
            try:
                customers.create(name=name)
            except IntegrityError:
                pass
            seen.append("in a failed transaction")
            customers.count()
    except Error as error:
        seen.append(type(error).__name__)
    seen.append(customers.get(name=name).balance)
    connection = connections[alias]
    connection.set_autocommit(False)
    try:
        customers.filter(name=name).update(email="x@example.org")
        connection.rollback()
        customers.filter(name=name).update(email="y@example.org")
        connection.commit()
    finally:
        connection.set_autocommit(True)
    seen.append(customers.get(name=name).email)
    hooks = []
    with transaction.atomic(using=alias):
        transaction.on_commit(lambda: hooks.append(customers.filter(name=name).count()), using=alias)
    return [*seen, hooks]


def server_side_cursors(alias, name):
    """Django declares them WITH HOLD outside of atomic blocks."""
    customer = Customer.objects.using(alias).get(name=name)
    mine = Purchase.objects.using(alias).filter(customer=customer).order_by("number")
    made = Purchase.objects.using(alias).bulk_create(purchases(customer, range(250)), batch_size=100)
    seen = [len(made), len({p.pk for p in made})]
    numbers = []
    for purchase in mine.iterator(chunk_size=40):
        numbers.append(purchase.number)
        if purchase.number % 90 == 0:
            # What happens in between is none of the cursor's business.
            seen.append(mine.filter(note="seen").count())
            try:
                with transaction.atomic(using=alias):
                    mine.filter(number=purchase.number).update(note="gone")
                    Customer.objects.using(alias).create(name=name)
            except IntegrityError:
                mine.filter(number=purchase.number).update(note="seen")
    assert numbers == list(range(250)), numbers
    with transaction.atomic(using=alias):
        backwards = mine.reverse().iterator(chunk_size=50)
        for purchase in mine.iterator(chunk_size=30):
            assert purchase.number + next(backwards).number == 249
        backwards.close()
    unfinished = mine.iterator(chunk_size=10)
    seen.append(next(unfinished).details)
    unfinished.close()
    hours = mine.order_by().annotate(hour=TruncHour("at")).values_list("hour").annotate(Sum("number"))
    seen.append([(str(hour), total) for hour, total in hours])
    again = purchases(customer, range(3))
    for purchase, old in zip(again, mine):
        purchase.pk, purchase.note = old.pk, "again"
    Purchase.objects.using(alias).bulk_create(
        again, update_conflicts=True, unique_fields=["id"], update_fields=["note"]
    )
    for purchase in again:
        purchase.note += "!"
    seen.append(Purchase.objects.using(alias).bulk_update(again, ["note"]))
    seen.append(list(mine.exclude(note="").values_list("number", "note")))
    seen.append(mine.delete())
    return seen


def transfers(alias):
    """Everybody's account is `first`'s; a transaction of repeatable reads may have to be tried again."""
    for _ in range(5):
        while True:
            try:
                with transaction.atomic(using=alias):
                    account = Customer.objects.using(alias).select_for_update(of=["self"]).get(name="first")
                    account.balance += 1
                    account.save(using=alias, update_fields=["balance"])
                break
            except OperationalError as error:
                assert error.__cause__.__class__.__name__ == "SerializationFailure", error


def requests(alias, name, seen):
    """What a web server's thread does, one request after the other, with one connection."""
    mine = []
    for n in range(3):
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()
        customer = f"{name} {n}"
        mine.append(setting_values(alias))
        mine.append(atomic_blocks(alias, customer))
        mine.append(server_side_cursors(alias, customer))
        transfers(alias)
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute("select 1 / 0")
        except DataError as error:
            mine.append(str(error).splitlines()[0])
        mine.append(setting_values(alias))
    seen[name] = mine


def thread(alias, name, seen):
    try:
        requests(alias, name, seen)
        # Everybody's connection is still there; nobody's server is.
        together.wait()
        if name.startswith("0 "):
            nobody_is_pinned()
        together.wait()
    except threading.BrokenBarrierError:
        pass
    except BaseException:
        together.abort()
        raise
    finally:
        connections.close_all()


migrations()
together = threading.Barrier(2 * len(DATABASES))
seen = {}
threads = [
    threading.Thread(target=thread, args=(alias, f"{n} {alias}", seen))
    for n, alias in enumerate([*DATABASES, *DATABASES])
]
for each in threads:
    each.start()
for each in threads:
    each.join()
assert len(seen) == len(threads) and not together.broken, "a thread failed"
for name in sorted(seen):
    print(name)
    for line in seen[name]:
        print(" ", line)
print(Customer.objects.get(name="first").balance)
