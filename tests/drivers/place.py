"""Where a script works: `script PORT DATABASE pooled|direct ...`. What it prints must be the same at both."""

import sys
import time

import psycopg2

PORT = int(sys.argv[1])
DATABASE = sys.argv[2]
POOLED = sys.argv[3] == "pooled"

# How many seconds it takes to give up.
PATIENCE = 30


def nobody_is_pinned():
    """Returns once the console shows no client that keeps its server; what is left is asked behind a client's answer."""
    if not POOLED:
        return
    console = psycopg2.connect(host="127.0.0.1", port=PORT, user="alice", dbname="pgbouncer", sslmode="disable")
    console.autocommit = True
    with console.cursor() as cursor:
        until = time.monotonic() + PATIENCE
        while True:
            cursor.execute("show clients")
            column = [c.name for c in cursor.description].index("pinned")
            pinned = [row for row in cursor.fetchall() if row[column]]
            if not pinned:
                break
            assert time.monotonic() < until, f"pinned: {pinned}"
    console.close()
