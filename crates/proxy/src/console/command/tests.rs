use super::*;
use crate::console::lexer::statements;

fn understood(source: &str, rights: Rights) -> Result<Command, Refusal> {
    let found = statements(source)?;
    assert_eq!(found.len(), 1, "{source}");
    understand(&found[0], rights)
}

fn admin(source: &str) -> Command {
    understood(source, Rights::Everything).unwrap_or_else(|e| panic!("{source}: {e}"))
}

fn some(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn each_command_is_understood_in_any_case() {
    let cases = [
        ("SHOW POOLS", Command::Show(Show::Pools)),
        ("show stats_totals;", Command::Show(Show::StatsTotals)),
        ("Show Help", Command::Help),
        ("SHOW", Command::Help),
        ("reload", Command::Reload),
        ("PAUSE", Command::Pause(None)),
        ("pause Shop_1", Command::Pause(some("Shop_1"))),
        ("PAUSE \"My db\"", Command::Pause(some("My db"))),
        ("RESUME shop-2", Command::Resume(some("shop-2"))),
        ("DISABLE shop", Command::Disable("shop".into())),
        ("ENABLE shop", Command::Enable("shop".into())),
        ("RECONNECT", Command::Reconnect(None)),
        ("KILL shop", Command::Kill(some("shop"))),
        ("KILL_CLIENT 17", Command::KillClient(17)),
        ("KILL_CLIENT 0xc00000000011", Command::KillClient(17)),
        ("SUSPEND", Command::Suspend),
        ("WAIT_CLOSE", Command::WaitClose(None)),
        ("TAKEOVER 7", Command::TakeOver(7)),
        ("SHUTDOWN", Command::Shutdown(Shutdown::Now)),
        (
            "SHUTDOWN wait_for_clients",
            Command::Shutdown(Shutdown::WaitForClients),
        ),
        (
            "SHUTDOWN WAIT_FOR_SERVERS",
            Command::Shutdown(Shutdown::WaitForServers),
        ),
    ];
    for (source, command) in cases {
        assert_eq!(admin(source), command, "{source}");
    }
}

#[test]
fn the_value_of_set_needs_quotes_only_where_it_could_be_misread() {
    let cases = [
        ("SET default_pool_size = 5", "default_pool_size", "5"),
        ("set query_timeout TO '30s'", "query_timeout", "30s"),
        ("SET admin_users=a, b", "admin_users", "a, b"),
        (
            "SET server_check_query = select 1",
            "server_check_query",
            "select 1",
        ),
        ("SET server_reset_query = ''", "server_reset_query", ""),
    ];
    for (source, key, value) in cases {
        let set = Command::Set {
            key: key.into(),
            value: value.into(),
        };
        assert_eq!(admin(source), set, "{source}");
    }
}

#[test]
fn what_is_not_understood_is_a_syntax_error_that_points_to_show_help() {
    let sources = [
        "SELECT * FROM pools",
        "SHOW pool",
        "SHOW POOLS x",
        "RELOAD now",
        "PAUSE a b",
        "SET x",
        "SHUTDOWN soon",
        "TAKEOVER",
        "TAKEOVER now",
        "'text'",
    ];
    for source in sources {
        let error = understood(source, Rights::Everything).expect_err(source);
        assert_eq!(error.code, sqlstate::SYNTAX_ERROR, "{source}");
        assert!(error.message.contains("SHOW HELP"), "{source}");
    }
    for source in [
        "DISABLE",
        "KILL_CLIENT",
        "KILL_CLIENT abc",
        "KILL_CLIENT 0x500000000011",
    ] {
        let error = understood(source, Rights::Everything).expect_err(source);
        assert_eq!(error.code, sqlstate::SYNTAX_ERROR, "{source}");
    }
}

#[test]
fn a_stats_user_may_look_and_nothing_else() {
    for show in SHOWS {
        let source = format!("SHOW {}", show.word);
        let may = show.rights == Rights::Look;
        assert_eq!(understood(&source, Rights::Look).is_ok(), may, "{source}");
    }
    let others = [
        "SET default_pool_size = 1",
        "RELOAD",
        "PAUSE",
        "RESUME",
        "DISABLE a",
        "ENABLE a",
        "RECONNECT",
        "KILL",
        "KILL_CLIENT 1",
        "SUSPEND",
        "SHUTDOWN",
        "TAKEOVER 1",
        "WAIT_CLOSE",
    ];
    assert_eq!(others.len(), COMMANDS.len() - 1);
    for source in others {
        let error = understood(source, Rights::Look).expect_err(source);
        assert_eq!(error.code, sqlstate::INSUFFICIENT_PRIVILEGE, "{source}");
        assert_eq!(error.message, "admin access needed");
    }
}

#[test]
fn what_drivers_send_unasked_is_answered_to_everyone() {
    let sources = [
        "SET extra_float_digits = 3",
        "SET application_name = 'psql'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET client_encoding TO 'UTF8'",
        "set datestyle to 'ISO'",
        "SET TIME ZONE 'UTC'",
        "BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "COMMIT",
        "ROLLBACK",
        "SELECT 1",
        "SELECT pg_advisory_unlock_all()",
        "CLOSE ALL",
        "UNLISTEN *",
        "RESET ALL",
        "DISCARD ALL",
        "DEALLOCATE \"s1\"",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "show standard_conforming_strings",
    ];
    for source in sources {
        let command = understood(source, Rights::Look);
        assert!(
            matches!(command, Ok(Command::Courtesy(_))),
            "{source}: {command:?}"
        );
    }
}

#[test]
fn help_names_every_command_and_every_show() {
    let help = help();
    for command in COMMANDS {
        assert!(help.contains(command.word), "{}", command.word);
    }
    for show in SHOWS {
        assert!(help.contains(show.word), "{}", show.word);
    }
}
