//! What people put in front of a pooler: it sees the same as on a direct connection.

use pgweir_tests::drivers::{node, python, ruby};
use pgweir_tests::{Pooler, postgres};

/// A database of alice's and everybody's in which schemas may be created, too.
fn database() -> String {
    let name = postgres().database();
    let grant = format!("grant create on database {name} to public");
    postgres().psql("postgres", &grant);
    name
}

/// Runs a program twice, with the arguments PORT, DATABASE, and `direct` or `pooled`: once on PostgreSQL and once on a
/// pooler with two server connections for each user. What it prints must be the same.
fn sees_the_same_as_directly(run: impl Fn(&[&str]) -> String) {
    let pooler = Pooler::new("default_pool_size = 2\nadmin_users = \"alice\"");
    let on = |port: u16, place: &str| run(&[&port.to_string(), &database(), place]);
    let direct = on(postgres().port(), "direct");
    let pooled = on(pooler.port(), "pooled");
    assert!(!direct.is_empty(), "it saw nothing");
    let mut lines = direct.lines().zip(pooled.lines());
    if let Some((direct, pooled)) = lines.find(|(direct, pooled)| direct != pooled) {
        panic!("directly:\n{direct}\nthrough the pooler:\n{pooled}");
    }
    assert_eq!(direct.lines().count(), pooled.lines().count());
}

fn python_with(script: &str, driver: &str) {
    sees_the_same_as_directly(|place| python(script, &[place, &[driver]].concat()));
}

#[test]
fn django_works_with_psycopg() {
    python_with("django_orm.py", "psycopg");
}

#[test]
fn django_works_with_psycopg2() {
    python_with("django_orm.py", "psycopg2");
}

#[test]
fn sqlalchemy_works_with_psycopg2() {
    python_with("sqlalchemy_core.py", "psycopg2");
}

#[test]
fn sqlalchemy_works_with_psycopg_and_prepared_statements() {
    python_with("sqlalchemy_core.py", "psycopg");
}

#[test]
fn sqlalchemy_works_with_asyncpg() {
    python_with("sqlalchemy_core.py", "asyncpg");
}

#[test]
fn sequelize_works() {
    sees_the_same_as_directly(|place| node("sequelize.js", place));
}

#[test]
fn prisma_works_with_its_driver_adapter() {
    sees_the_same_as_directly(|place| node("prisma.js", place));
}

#[test]
fn active_record_works_and_migrates_under_its_advisory_lock() {
    sees_the_same_as_directly(|place| ruby("active_record.rb", place));
}
