//! A scratch directory: OpenLDAP's slapd, with a few users.
//!
//! Below `dc=example,dc=net` there are, with [`PASSWORD`], `uid=alice`, `uid=scram_user`, `uid=md5_user`, `uid=nobody_else`,
//! `uid=late_user` and `uid=stranger`, the last two of whom are no users of PostgreSQL; two entries have the mail address `twice@example.net`. Nobody
//! but `cn=reader` sees them, with the password `read it`. A bind without a password succeeds for anybody, so that it is the
//! pooler who has to refuse it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::certificates;
use crate::postgres::{PASSWORD, free_port};
use crate::scratch;

/// What its names end with.
pub const SUFFIX: &str = "dc=example,dc=net";

/// A running slapd. It ends with the test process.
#[derive(Debug)]
pub struct Slapd {
    port: u16,
    tls_port: u16,
    home: PathBuf,
    _server: Child,
    // It ends the server when its standard input closes, which happens with this process at the latest.
    _janitor: Child,
}

/// The one that the tests share; `None`, with a word of it, where slapd is not installed.
pub fn slapd() -> Option<&'static Slapd> {
    static SHARED: OnceLock<Option<Slapd>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        let program = program();
        if program.is_none() {
            crate::left_out("slapd is not installed (.ci/install ldap)");
        }
        Some(Slapd::start(&program?))
    });
    shared.as_ref()
}

/// Debian has it where only root looks for programs.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/libexec".into()])
        .map(|directory| directory.join("slapd"))
        .find(|program| program.exists())
}

impl Slapd {
    fn start(program: &Path) -> Self {
        let home = scratch::directory("slapd");
        let identity = certificates::authority().issue("localhost", &["localhost"]);
        let write = |name: &str, text: &str| std::fs::write(home.join(name), text).unwrap();
        write("server.crt", &identity.certificate);
        write("server.key", &identity.key);
        write("ca.crt", &identity.authority);
        write("slapd.conf", &configuration(&home));
        write("users.ldif", &users());
        std::fs::create_dir(home.join("db")).unwrap();
        let farewell = format!("kill $(cat '{0}/slapd.pid'); rm -rf '{0}'", home.display());
        let janitor = scratch::at_end(&farewell).unwrap();
        let (server, port, tls_port) = serve(program, &home);
        Slapd {
            port,
            tls_port,
            home,
            _server: server,
            _janitor: janitor,
        }
    }

    /// Its port for clear text, and StartTLS.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port for TLS. The certificate is for `localhost`, not for 127.0.0.1.
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// The file of the authority that its certificate is from.
    pub fn authority(&self) -> PathBuf {
        self.home.join("ca.crt")
    }
}

/// Fills the directory in `home` and has it served: the process, and its ports in clear text and for TLS.
fn serve(program: &Path, home: &Path) -> (Child, u16, u16) {
    let slapd = |mode: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(mode)
            .arg("-f")
            .arg(home.join("slapd.conf"))
            .stdin(Stdio::null());
        command
    };
    // Its other name, slapadd, may be missing from where programs are looked for.
    let users = home.join("users.ldif");
    let added = slapd(&["-T", "add"]).arg("-l").arg(users).output().unwrap();
    assert!(added.status.success(), "slapadd: {added:?}");
    // Another process may take a port between the question and its use.
    for _ in 0..5 {
        let (port, tls_port) = (free_port(), free_port());
        let urls = format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}");
        let mut child = slapd(&["-d", "0", "-h", &urls])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return (child, port, tls_port);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    panic!("slapd does not start");
}

fn configuration(home: &Path) -> String {
    let schemas = ["/etc/ldap/schema", "/etc/openldap/schema"]
        .into_iter()
        .find(|directory| Path::new(directory).is_dir())
        .expect("slapd comes with its schemas");
    let home = home.display();
    format!(
        "\
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
pidfile {home}/slapd.pid
argsfile {home}/slapd.args
allow bind_anon_dn bind_anon_cred
TLSCACertificateFile {home}/ca.crt
TLSCertificateFile {home}/server.crt
TLSCertificateKeyFile {home}/server.key
database ldif
suffix \"{SUFFIX}\"
directory {home}/db
access to attrs=userPassword by anonymous auth
access to * by dn.exact=\"cn=reader,{SUFFIX}\" read
"
    )
}

fn users() -> String {
    let mut ldif = format!(
        "\
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: cn=reader,{SUFFIX}
objectClass: person
cn: reader
sn: reader
userPassword: read it
"
    );
    for (user, mail) in [
        ("alice", "alice@example.net"),
        ("scram_user", "scram_user@example.net"),
        ("md5_user", "twice@example.net"),
        ("nobody_else", "twice@example.net"),
        ("late_user", "late_user@example.net"),
        ("stranger", "stranger@example.net"),
    ] {
        ldif += &format!(
            "\ndn: uid={user},{SUFFIX}\nobjectClass: inetOrgPerson\nuid: {user}\ncn: {user}\nsn: {user}\n\
             mail: {mail}\nuserPassword: {PASSWORD}\n"
        );
    }
    ldif
}
