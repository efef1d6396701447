//! Messages of any size stream through in bounded memory; a client that does not read harms nobody.

use pgweir_tests::process::Process;
use pgweir_tests::raw::{errors, values};
use pgweir_tests::{Pooler, Raw, Script, within};

const MB: u64 = 1 << 20;

#[tokio::test]
async fn a_row_and_a_parameter_of_a_hundred_megabytes_stream_in_bounded_memory() {
    let pooler = Process::start("default_pool_size = 1\nworkers = 1", "");
    let mut raw = Raw::login(pooler.address(), "alice", "postgres").await;
    raw.value("select 1").await;
    let before = pooler.peak_memory();

    let messages = raw.query("select repeat('x', 100 * 1024 * 1024)").await;
    assert_eq!(values(&messages)[0].len(), 100 << 20);
    let grown = pooler.peak_memory() - before;
    assert!(grown < 8 * MB, "a row of 100 MB took {grown} bytes");

    let parameter = "y".repeat(64 << 20);
    let script = Script::new().extended("select length($1)", &[Some(&parameter)]);
    let messages = raw.ask(&script, 1).await;
    assert_eq!(values(&messages), [(64 << 20).to_string()]);
    let grown = pooler.peak_memory() - before;
    assert!(grown < 8 * MB, "a parameter of 64 MB took {grown} bytes");

    let text = format!("select length('{}')", "z".repeat(32 << 20));
    assert_eq!(raw.value(&text).await, (32 << 20).to_string());
    let grown = pooler.peak_memory() - before;
    assert!(grown < 8 * MB, "a query of 32 MB took {grown} bytes");
}

#[tokio::test]
async fn a_statement_of_a_megabyte_is_prepared_everywhere() {
    let pooler = Pooler::new("default_pool_size = 2");
    let text = format!("select $1::int + length('{}')", "q".repeat(1 << 20));
    let mut first = Raw::login(pooler.address(), "alice", "postgres").await;
    let mut other = Raw::login(pooler.address(), "alice", "postgres").await;
    let answers = first
        .ask(
            &Script::new()
                .parse("long", &text)
                .describe_statement("long")
                .sync(),
            1,
        )
        .await;
    assert!(errors(&answers).is_empty(), "{answers:?}");
    // With one server taken, the other has to be given the statement.
    other.query("begin").await;
    for n in 0..3 {
        let script = Script::new()
            .bind("", "long", &[Some(&n.to_string())])
            .execute("", 0)
            .sync();
        let answers = first.ask(&script, 1).await;
        assert_eq!(values(&answers), [((1 << 20) + n).to_string()]);
    }
}

#[tokio::test]
async fn a_client_that_never_reads_takes_no_memory_beyond_its_bound_and_stops_nobody() {
    let pooler = Process::start(
        "default_pool_size = 3\nworkers = 1\nclient_buffer_size = \"64kB\"",
        "",
    );
    let mut other = Raw::login(pooler.address(), "alice", "postgres").await;
    other.value("select 1").await;
    let before = pooler.peak_memory();
    let mut deaf = Raw::login(pooler.address(), "alice", "postgres").await;
    deaf.say(&Script::new().query("select repeat('x', 1000) from generate_series(1, 300000)"))
        .await;
    // And one that sends without end what is answered without a server's help or with it.
    let mut babbler = Raw::login(pooler.address(), "alice", "postgres").await;
    let script = Script::new()
        .parse("a", "select 1")
        .close_statement("a")
        .sync();
    let many = script.as_bytes().repeat(20_000);
    let babble = tokio::spawn(async move { babbler.send(&many).await });
    for _ in 0..300 {
        assert_eq!(other.value("select 'not stopped'").await, "not stopped");
    }
    let grown = pooler.peak_memory() - before;
    assert!(grown < 8 * MB, "it took {grown} bytes");
    babble.abort();
    // Reading after all, it finds everything.
    let messages = within("reading it all", deaf.until_ready()).await;
    assert_eq!(values(&messages).len(), 300_000);
}

#[tokio::test]
async fn a_client_that_sends_without_end_while_it_waits_takes_no_memory_beyond_its_bound() {
    let pooler = Process::start(
        "default_pool_size = 1\nworkers = 1\nclient_buffer_size = \"64kB\"",
        "",
    );
    let mut holder = Raw::login(pooler.address(), "alice", "postgres").await;
    holder.query("begin").await;
    let before = pooler.peak_memory();
    let mut sender = Raw::login(pooler.address(), "alice", "postgres").await;
    let text = format!("select length('{}')", "w".repeat(48 << 20));
    let sending = tokio::spawn(async move {
        let script = Script::new().query(&text);
        sender.ask(&script, 1).await
    });
    for _ in 0..300 {
        holder.value("select 1").await;
    }
    holder.query("commit").await;
    let answer = within("the long query", sending).await.unwrap();
    assert_eq!(values(&answer), [(48 << 20).to_string()]);
    let grown = pooler.peak_memory() - before;
    assert!(grown < 8 * MB, "it took {grown} bytes");
}
