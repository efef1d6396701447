//! The program as it is run: exit codes, and what it says.

#![allow(clippy::unwrap_used, reason = "in a test a failure is the answer")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A configuration file that is gone when this is dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("pgweir-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It is in the system's directory for what may be lost.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn pgweir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgweir"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// Asserts that it fails with these lines on stderr, and says nothing else.
fn assert_fails(arguments: &[&str], lines: &[&str]) {
    let output = pgweir(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(stderr.lines().collect::<Vec<_>>(), lines, "{arguments:?}");
}

#[test]
fn version_is_one_line() {
    let output = pgweir(&["--version"]);
    assert!(output.status.success());
    assert_eq!(output.stdout, b"pgweir 0.1.0\n");
}

#[test]
fn help_fits_a_terminal() {
    let output = pgweir(&["--help"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("pgweir check FILE"));
    let longest = text.lines().map(|l| l.chars().count()).max();
    assert!(longest <= Some(80), "{longest:?}");
}

#[test]
fn a_wrong_command_line_is_one_line() {
    assert_fails(
        &[],
        &["pgweir: expected a configuration file; see pgweir --help"],
    );
    assert_fails(
        &["--quick"],
        &["pgweir: invalid option '--quick'; see pgweir --help"],
    );
}

#[test]
fn route_says_where_each_text_goes_and_why() {
    let output = pgweir(&[
        "route",
        "select * from t",
        "select nextval('s')",
        "insert into t\n  values (1)",
        "select mine(1)",
        "begin",
        "begin read only",
        "set work_mem = '1MB'",
        "select 1 /* pgweir: primary */",
    ]);
    assert!(output.status.success());
    let lines = "\
replica  read                                 select * from t
primary  volatile function nextval            select nextval('s')
primary  insert                               insert into t values (1)
primary  unknown function mine                select mine(1)
primary  transaction                          begin
replica  read only transaction                begin read only
any      nothing read                         set work_mem = '1MB'
primary  comment                              select 1 /* pgweir: primary */
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), lines);
    assert_fails(
        &["route"],
        &["pgweir: route: expected a text of SQL; see pgweir --help"],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_line() {
    let line = "/nonexistent/a.toml: cannot be read: No such file or directory (os error 2)";
    assert_fails(&["/nonexistent/a.toml"], &[line]);
    assert_fails(&["check", "/nonexistent/a.toml"], &[line]);
}

#[test]
fn every_bad_setting_has_its_line() {
    let file = File::new("bad", "[pgweir]\nlisten_prot = 1\npool_mode = \"some\"\n");
    let path = file.path();
    let lines = [
        format!(
            "{path}:2: unknown setting \"listen_prot\" in [pgweir]; did you mean \"listen_port\"?"
        ),
        format!("{path}:3: pool_mode = \"some\": expected session, transaction or statement"),
    ];
    let lines = lines.each_ref().map(String::as_str);
    assert_fails(&[path], &lines);
    assert_fails(&["check", path], &lines);
}

#[test]
fn a_port_that_is_taken_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let text = format!("[pgweir]\nlisten_port = {port}\nauth_type = \"trust\"\n[databases.a]\n");
    let file = File::new("port", &text);
    let path = file.path();
    let line = format!(
        "{path}: cannot listen on 127.0.0.1:{port} (listen_addr, listen_port): Address already in use (os error 98)"
    );
    assert_fails(&[path], &[&line]);
    // Whoever checks a file may have it running.
    let output = pgweir(&["check", path]);
    assert_eq!(output.stdout, format!("{path}: ok\n").as_bytes());
}

#[test]
fn check_reads_the_files_that_are_named() {
    for (name, setting) in [
        ("auth", "auth_file = \"/nonexistent/users\""),
        (
            "tls",
            "client_tls_sslmode = \"require\"\nclient_tls_cert_file = \"/nonexistent/c\"\nclient_tls_key_file = \"/nonexistent/k\"",
        ),
    ] {
        let file = File::new(name, &format!("[pgweir]\n{setting}\n[databases.a]\n"));
        let output = pgweir(&["check", file.path()]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with(file.path()), "{last}");
        assert!(last.contains("/nonexistent/"), "{last}");
    }
}

#[test]
fn the_example_configuration_is_well() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pooler.toml");
    let output = pgweir(&["check", file]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.ends_with(": ok\n"), "{stdout}");
}
