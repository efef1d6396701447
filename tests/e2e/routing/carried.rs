//! Positions that an application carries from one pooler to another.

use pgweir_tests::raw::{errors, heads, values};
use pgweir_tests::{Raw, Script};

use super::freshness::{READ, Scene, WRITE};
use super::{HERE, splitting, until, until_at};

const ASK: &str = "show pgweir.position";

/// The position as each protocol form answers it.
async fn positions(client: &mut Raw) -> Vec<String> {
    let named = Script::new()
        .parse("position", "SHOW pgweir.position;")
        .describe_statement("position")
        .bind("", "position", &[])
        .execute("", 0)
        .close_statement("position")
        .sync();
    let mut found = Vec::new();
    for script in [
        Script::new().query(ASK),
        Script::new().extended(ASK, &[]),
        named,
    ] {
        let answer = client.ask(&script, 1).await;
        assert!(errors(&answer).is_empty(), "{answer:?}");
        let described = answer.iter().find(|m| m.tag == b'T').unwrap();
        assert_eq!(heads(&described.body), ["pgweir.position"]);
        found.extend(values(&answer));
    }
    assert_eq!(found.len(), 3);
    found
}

#[tokio::test]
async fn what_was_written_through_one_pooler_is_read_through_another() {
    let scene = Scene::with("").await;
    let mut writer = scene.client().await;
    for whose in ["off", "session", "all"] {
        let settings = format!("read_your_writes = \"{whose}\"");
        let other = splitting(&scene.cluster, &settings);
        let mut reader = Raw::login(other.address(), "alice", &scene.database).await;
        until_at(&mut reader, &scene.port(1)).await;
        scene.cluster.pause(1);
        let before: i32 = reader.value(READ).await.parse().unwrap();
        writer.query(WRITE).await;
        let after = (before + 1).to_string();
        for position in positions(&mut writer).await {
            // Without it, the replica's answer will do.
            until(&mut reader, READ, &before.to_string()).await;
            reader
                .query(&format!("set pgweir.after = '{position}'"))
                .await;
            assert_eq!(reader.value(READ).await, after, "{whose}");
            reader.query("begin read only").await;
            assert_eq!(reader.value(READ).await, after, "{whose}");
            reader.query("commit").await;
            reader.query("reset pgweir.after").await;
        }
        // From its start on.
        let position = positions(&mut writer).await.remove(0);
        let options = format!("-c pgweir.after={position}");
        let parameters = [("options", &*options)];
        let started = Raw::login_with(other.address(), "alice", &scene.database, &parameters).await;
        let mut started = started.unwrap();
        assert_eq!(started.value(READ).await, after);
        scene.cluster.resume(1);
        until_at(&mut started, &scene.port(1)).await;
        assert_eq!(started.value(READ).await, after);
    }
}

#[tokio::test]
async fn a_position_that_is_none_is_refused_and_changes_nothing() {
    let scene = Scene::with("read_your_writes = \"off\"").await;
    let mut client = scene.reader().await;
    let wrong = "set pgweir.after = 'yesterday'";
    for script in [
        Script::new().query(wrong),
        Script::new().extended(wrong, &[]),
    ] {
        let answer = client.ask(&script, 1).await;
        let refused = errors(&answer);
        assert_eq!(refused[0].code, "22023");
        assert!(refused[0].hint.contains("16/B374D848"), "{refused:?}");
        assert_eq!(client.value(HERE).await, scene.port(1));
    }
    let wrong = "set local pgweir.after to 'tomorrow'";
    for script in [
        Script::new().query(wrong),
        Script::new().extended(wrong, &[]),
    ] {
        client.query("begin").await;
        let answer = client.ask(&script, 1).await;
        assert_eq!(errors(&answer)[0].code, "22023");
        client.query("rollback").await;
        client.query("begin").await;
        let right = Script::new().query("set local pgweir.after = '0/1'");
        assert!(errors(&client.ask(&right, 1).await).is_empty());
        client.query("commit").await;
        assert_eq!(client.value(HERE).await, scene.port(1));
    }
    let address = client.address();
    let options = [("options", "-c pgweir.after=x")];
    let refused = Raw::login_with(address, "alice", &scene.database, &options).await;
    assert_eq!(refused.err().map(|e| e.code).as_deref(), Some("22023"));
    client.query("set pgweir.after = 'FFFFFFFF/FFFFFFFF'").await;
    assert_eq!(client.value(HERE).await, scene.port(0));
    client.query("set pgweir.after = ''").await;
    assert_eq!(client.value(HERE).await, scene.port(1));
}
