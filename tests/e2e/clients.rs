//! The programs and drivers that people use.

use std::process::Command;

use pgweir_tests::drivers::{finish, java, node, python};
use pgweir_tests::scratch::Directory;
use pgweir_tests::{Pooler, postgres};

fn psql(pooler: &Pooler, database: &str, script: &str) -> String {
    let home = Directory::new("psql");
    let file = home.write("script.sql", script);
    finish(
        Command::new(postgres().program("psql"))
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&file)
            .arg(pooler.dsn("alice", database))
            .current_dir(home.path()),
    )
}

#[test]
fn psql_copies_sets_variables_and_describes() {
    let database = postgres().database();
    for mode in ["transaction", "session"] {
        let pooler = Pooler::new(&format!("pool_mode = \"{mode}\"\ndefault_pool_size = 2"));
        let found = psql(
            &pooler,
            &database,
            "drop table if exists t;\n\
             create table t (a int primary key, b text);\n\
             \\copy t from stdin\n1\tone\n2\ttwo\n\\.\n\
             \\copy t to 'out.txt'\n\
             \\copy t (a) to stdout\n\
             select count(*) as n, 'x' as s from t \\gset\n\
             select :n, :'s';\n\
             \\d t\n\
             select 'select ' || a from t order by a \\gexec\n\
             begin;\nsavepoint a;\n\\set ON_ERROR_STOP 0\nselect 1/0;\n\\set ON_ERROR_STOP 1\nrollback to a;\ncommit;\n\
             select 'last';\n",
        );
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines[..3], ["1", "2", "2|x"], "{mode}: {found}");
        assert!(found.contains("a|integer||not null|"), "{mode}: {found}");
        assert_eq!(lines.last(), Some(&"last"), "{mode}: {found}");
    }
}

#[test]
fn pgbench_runs_in_all_three_protocols() {
    let database = postgres().database();
    let direct = format!(
        "host=127.0.0.1 port={} user=alice dbname={database}",
        postgres().port()
    );
    let pgbench = || Command::new(postgres().program("pgbench"));
    finish(pgbench().args(["-i", "-q", "-s", "1"]).arg(&direct));
    for mode in ["transaction", "session"] {
        let pooler = Pooler::new(&format!("pool_mode = \"{mode}\"\ndefault_pool_size = 10"));
        for protocol in ["simple", "extended", "prepared"] {
            for (script, connect) in [("-S", ""), ("-N", ""), ("-S", "-C")] {
                let dsn = pooler.dsn("alice", &database);
                let mut command = pgbench();
                command.args(["-n", "-c", "10", "-t", "50", "-M", protocol, script]);
                if !connect.is_empty() {
                    command.arg(connect);
                }
                let report = finish(command.arg(&dsn));
                assert!(
                    report.contains("processed: 500/500"),
                    "{mode} {protocol}: {report}"
                );
                assert!(
                    report.contains("failed transactions: 0 "),
                    "{mode} {protocol}: {report}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadpool_and_tokio_postgres_work_with_cached_statements_and_pipelines() {
    let pooler = Pooler::new("default_pool_size = 4");
    let config: tokio_postgres::Config = pooler.dsn("alice", "postgres").parse().unwrap();
    let manager = deadpool_postgres::Manager::from_config(
        config,
        tokio_postgres::NoTls,
        deadpool_postgres::ManagerConfig {
            recycling_method: deadpool_postgres::RecyclingMethod::Fast,
        },
    );
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(10)
        .build()
        .unwrap();
    let mut tasks = Vec::new();
    for task in 0..40_i32 {
        let pool = pool.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..25_i32 {
                let mut client = pool.get().await.unwrap();
                let statement = client.prepare_cached("select $1::int4 * 2").await.unwrap();
                let row = client.query_one(&statement, &[&(task + n)]).await.unwrap();
                assert_eq!(row.get::<_, i32>(0), (task + n) * 2);
                // Two futures at once are a pipeline.
                let big = i64::from(n);
                let (a, b) = tokio::join!(
                    async { client.query_one("select $1::text", &[&"a"]).await },
                    async { client.query_one("select $1::int8", &[&big]).await },
                );
                assert_eq!(a.unwrap().get::<_, String>(0), "a");
                assert_eq!(b.unwrap().get::<_, i64>(0), i64::from(n));
                let transaction = client.transaction().await.unwrap();
                transaction.batch_execute("savepoint s").await.unwrap();
                assert!(transaction.query_one("select 1/0", &[]).await.is_err());
                transaction.batch_execute("rollback to s").await.unwrap();
                let row = transaction.query_one("select 'in it'", &[]).await.unwrap();
                assert_eq!(row.get::<_, String>(0), "in it");
                transaction.commit().await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn tokio_postgres_cancels_by_its_own_token() {
    let pooler = Pooler::new("default_pool_size = 1");
    let client = pooler.client("alice", "postgres").await;
    let token = client.cancel_token();
    let (result, ()) = tokio::join!(client.batch_execute("select pg_sleep(3600)"), async {
        // The query is on its way only when PostgreSQL has it.
        while postgres().psql("postgres", "select count(*) from pg_stat_activity where query = 'select pg_sleep(3600)' and state = 'active'") == "0" {
            tokio::task::yield_now().await;
        }
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    });
    assert_eq!(result.unwrap_err().code().unwrap().code(), "57014");
    client.batch_execute("select 1").await.unwrap();
}

#[test]
fn asyncpg_works_with_its_pool_and_statement_cache() {
    let pooler = Pooler::new("default_pool_size = 5");
    python("asyncpg_pool.py", &[&pooler.port().to_string()]);
}

#[test]
fn libpq_pipeline_mode_works() {
    let pooler = Pooler::new("default_pool_size = 3");
    python("psycopg_pipeline.py", &[&pooler.port().to_string()]);
}

#[test]
fn node_postgres_works_with_its_pool() {
    let pooler = Pooler::new("default_pool_size = 5");
    node("node_postgres.js", &[&pooler.port().to_string()]);
}

#[test]
fn pgjdbc_works_in_every_query_mode() {
    let database = postgres().database();
    let pooler = Pooler::new("default_pool_size = 3");
    java("Jdbc.java", &[&pooler.port().to_string(), &database]);
}
