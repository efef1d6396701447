"""Clients that each have a search_path and a time zone of their own, and a script that finds out if one lost them.

There is a table `accounts` in public and one in the schema of each client. A row says whose table it is and which time
zone its client has, so that the select which is timed also brings what is to be checked.
"""

CLIENTS = 100
ROWS = 1000
# Whose table the clients read that set nothing.
NOBODY = -1
# What the clients of a run set.
KINDS = ("nothing", "their own")

_TABLES = f"""
set role bench;
do $$
declare zones text[] := array(
    select name from pg_timezone_names where name ~ '^(America|Asia|Europe)/' order by md5(name) limit {CLIENTS});
begin
    execute format('create table public.accounts as select aid, 0 as balance, {NOBODY} as client, %L as zone
                    from generate_series(1, {ROWS}) aid', current_setting('TimeZone'));
    alter table public.accounts add primary key (aid);
    analyze public.accounts;
    for client in 0 .. {CLIENTS - 1} loop
        execute format('create schema client%s', client);
        execute format('create table client%1$s.accounts as select aid, 0 as balance, %1$s as client, %2$L as zone
                        from generate_series(1, {ROWS}) aid', client, zones[client + 1]);
        execute format('alter table client%s.accounts alter zone set not null, add primary key (aid)', client);
        execute format('analyze client%s.accounts', client);
    end loop;
end $$;
"""

# What an application does when it connects; only the client's own table knows the zone.
_CONNECTING = """\\if :connecting
SET search_path TO client:client_id;
SELECT zone FROM accounts WHERE aid = 1 \\gset
SET TIME ZONE ':zone';
\\set connecting 0
\\endif
"""

# The error ends the run as a failure, and its text, which is no integer, says what was wrong.
_SELECT = f"""\\set aid random(1, {ROWS})
SELECT balance, client, current_setting('TimeZone') = zone AS in_zone FROM accounts WHERE aid = :aid \\gset
\\if :client <> %s or not :in_zone
SELECT 'client :client_id, table of :client, own zone :in_zone'::int;
\\endif
"""

# pgbench's variables with their first values; they are each client's own, and last as long as its connection.
VARIABLES = {"connecting": 1}


def script(kind):
    """What pgbench is to run for clients that set one of KINDS: in a client's first transaction its SETs, in every
    transaction one select by primary key and the check of what it brought."""
    return _CONNECTING + _SELECT % ":client_id" if kind == "their own" else _SELECT % NOBODY


def prepare(postgres, database):
    """Makes the tables."""
    postgres.sql(_TABLES, database)
