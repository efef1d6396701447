#!/bin/sh
# Writes pooler.toml from the environment, with the variables of the PgBouncer images, and runs the command.
#
#   DATABASES_HOST                   PostgreSQL's host; without it nothing is written
#   DATABASES_PORT                   5432
#   DATABASES_USER, DATABASES_PASSWORD   as whom clients log in here, and the pooler there
#   DATABASES_DBNAME                 the database; without it, any that a client names
#   DATABASES_CLIENT_DBNAME          its name for clients, if another
#   POOL_MODE, MAX_CLIENT_CONN, ...  any global setting, in capitals; also as PGBOUNCER_POOL_MODE, ...
#
# A pooler.toml that is there and was not written by this script is left alone. PGWEIR__SECTION__KEY overrides either.
set -eu

file=${PGWEIR_CONFIG:-/etc/pgweir/pooler.toml}
mark='# Written by the entrypoint from the environment.'

# The value of the first variable of these that is set; fails if none is.
first() {
    for name in "$@"; do
        eval "value=\${$name-}"
        if [ -n "$value" ]; then
            printf %s "$value"
            return
        fi
    done
    return 1
}

# $1 as a TOML string. Control characters have no business in any of these.
quoted() {
    printf '"'
    printf %s "$1" | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' | tr -d '\000-\037'
    printf '"'
}

# The same for a value, in which ${ would begin a variable.
value() {
    quoted "$1" | sed -e 's/\${/$${/g'
}

# key = value, from SETTING, for a global setting.
global() {
    for key in "$@"; do
        name=$(printf %s "$key" | tr a-z A-Z)
        if value=$(first "$name" "PGBOUNCER_$name"); then
            printf '%s = %s\n' "$key" "$(value "$value")"
        fi
    done
}

configuration() {
    printf '%s\n\n[pgweir]\n' "$mark"
    first LISTEN_ADDR PGBOUNCER_LISTEN_ADDR >/dev/null || printf 'listen_addr = "*"\n'
    global listen_addr listen_port unix_socket_dir unix_socket_mode unix_socket_group so_reuseport listen_backlog workers max_client_conn pool_mode default_pool_size \
        min_pool_size reserve_pool_size reserve_pool_timeout server_round_robin \
        max_db_connections max_user_connections max_db_client_connections max_user_client_connections \
        max_packet_size client_buffer_size server_lifetime server_idle_timeout server_connect_timeout \
        server_login_retry server_check_query server_check_delay server_reset_query \
        server_reset_query_always query_timeout query_wait_timeout query_wait_notify \
        client_idle_timeout client_login_timeout idle_transaction_timeout transaction_timeout \
        cancel_wait_timeout suspend_timeout max_prepared_statements prepare_unnamed \
        prepared_statement_cache_size max_prepared_statement_bytes \
        max_client_prepared_statements ignore_startup_parameters \
        application_name_add_host auth_type auth_file auth_hba_file auth_ident_file auth_user auth_query auth_dbname \
        auth_query_lifetime admin_users stats_users \
        client_tls_sslmode client_tls_key_file client_tls_cert_file client_tls_ca_file \
        client_tls_protocols server_tls_sslmode server_tls_key_file server_tls_cert_file server_tls_ca_file \
        server_tls_protocols tcp_keepalive tcp_keepidle tcp_keepintvl tcp_keepcnt tcp_user_timeout tcp_socket_buffer \
        stats_period log_connections log_disconnections log_pooler_errors log_stats log_format log_level \
        metrics_listen
    if ! first ADMIN_USERS PGBOUNCER_ADMIN_USERS >/dev/null && [ -n "${DATABASES_USER-}" ]; then
        printf 'admin_users = [%s]\n' "$(value "$DATABASES_USER")"
    fi

    client_dbname=${DATABASES_CLIENT_DBNAME:-${DATABASES_DBNAME:-*}}
    printf '\n[databases.%s]\n' "$(quoted "$client_dbname")"
    printf 'host = %s\n' "$(value "$DATABASES_HOST")"
    printf 'port = %s\n' "$(value "${DATABASES_PORT:-5432}")"
    if [ -n "${DATABASES_DBNAME-}" ] && [ "$DATABASES_DBNAME" != "$client_dbname" ]; then
        printf 'dbname = %s\n' "$(value "$DATABASES_DBNAME")"
    fi
    if [ -n "${DATABASES_USER-}" ]; then
        printf '\n[users.%s]\n' "$(quoted "$DATABASES_USER")"
        # Not the password itself: it stays where it is, and cannot break the file.
        if [ -n "${DATABASES_PASSWORD-}" ]; then
            printf 'password = "${DATABASES_PASSWORD}"\n'
        fi
    fi
}

if [ -n "${DATABASES_HOST-}" ]; then
    if [ -e "$file" ] && ! head -n 1 "$file" | grep -qxF "$mark"; then
        echo "$file is not the entrypoint's: DATABASES_HOST and its like have no effect" >&2
    else
        umask 077
        configuration >"$file"
    fi
fi

exec "$@"
