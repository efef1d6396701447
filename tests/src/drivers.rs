//! Programs in other languages that talk to a pooler.
//!
//! Their packages are installed once, under the target directory, by the ordinary clients of the package registries, in
//! the versions that `drivers/requirements.txt` and `drivers/package-lock.json` name; what Java and Ruby need is Debian's.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

const PYTHON_PACKAGES: &str = include_str!("../drivers/requirements.txt");
const NODE_PACKAGES: &str = include_str!("../drivers/package-lock.json");

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers")
}

/// A directory for what is installed, kept between runs.
fn installed(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let target = me.ancestors().nth(3).unwrap();
    target.join("drivers").join(name)
}

/// Runs `setup` in `home` unless the stamp there says that it was done with the same `packages`.
fn once(home: &Path, packages: &str, setup: impl FnOnce()) {
    let stamp = home.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == packages) {
        return;
    }
    std::fs::create_dir_all(home).unwrap();
    setup();
    std::fs::write(stamp, packages).unwrap();
}

fn must(command: &mut Command, remedy: &str) {
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{command:?} failed ({remedy}):\n{}", text(&output)),
        Err(e) => panic!("{command:?} does not run ({remedy}): {e}"),
    }
}

fn text(output: &Output) -> String {
    let all = [&*output.stdout, &*output.stderr].concat();
    // The end says what was wrong; a hundred tasks of a driver say it a hundred times.
    let start = all.len().saturating_sub(3000);
    String::from_utf8_lossy(&all[start..]).into_owned()
}

/// Runs `drivers/SCRIPT` with Python; panics with its output unless it exits with 0.
pub fn python(script: &str, arguments: &[&str]) -> String {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    let home = HOME.get_or_init(|| {
        let home = installed("python");
        once(&home, PYTHON_PACKAGES, || {
            must(
                Command::new("python3")
                    .args(["-m", "venv", "--clear"])
                    .arg(&home),
                "install python3-venv",
            );
            must(
                Command::new(home.join("bin/pip"))
                    .args(["install", "-q", "--disable-pip-version-check", "-r"])
                    .arg(scripts().join("requirements.txt")),
                "pip needs the network",
            );
        });
        home
    });
    let mut command = Command::new(home.join("bin/python"));
    // What is compiled would be written beside the sources.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(scripts().join(script)).args(arguments);
    finish(&mut command)
}

/// Runs `drivers/SCRIPT` with Node.js; panics with its output unless it exits with 0.
pub fn node(script: &str, arguments: &[&str]) -> String {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    let home = HOME.get_or_init(|| {
        let home = installed("node");
        once(&home, NODE_PACKAGES, || {
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(scripts().join(file), home.join(file)).unwrap();
            }
            must(
                Command::new("npm")
                    .args(["ci", "--silent", "--no-audit", "--no-fund"])
                    // Nothing that these packages run when they are installed is needed here.
                    .arg("--ignore-scripts")
                    .arg("--prefix")
                    .arg(&home),
                "install npm; it needs the network",
            );
        });
        home
    });
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", home.join("node_modules"))
        .arg(scripts().join(script))
        .args(arguments);
    finish(&mut command)
}

/// Runs `drivers/SCRIPT` with Ruby and Debian's ActiveRecord; panics with its output unless it exits with 0.
pub fn ruby(script: &str, arguments: &[&str]) -> String {
    let program = Path::new("/usr/bin/ruby");
    assert!(program.exists(), "install ruby-activerecord and ruby-pg");
    let mut command = Command::new(program);
    command.arg(scripts().join(script)).args(arguments);
    finish(&mut command)
}

/// Runs `drivers/SCRIPT` with Java and Debian's pgjdbc; panics with its output unless it exits with 0.
pub fn java(script: &str, arguments: &[&str]) -> String {
    let driver = Path::new("/usr/share/java/postgresql.jar");
    assert!(driver.exists(), "install libpostgresql-jdbc-java");
    let mut command = Command::new("java");
    command
        .arg("-cp")
        .arg(driver)
        .arg(scripts().join(script))
        .args(arguments);
    finish(&mut command)
}

/// Runs a command; its standard output. Panics with all that it wrote unless it exits with 0.
pub fn finish(command: &mut Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => panic!("{command:?} does not run: {e}"),
    };
    assert!(output.status.success(), "{command:?}:\n{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
