//! Each mix-up of TLS is one line of an agent that says what is wrong and what to do. OpenSSL's `s_server` is the
//! other side.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use silo_e2e::{PATIENCE, PAUSE, binary, write_private};

use super::run;

/// A token of the right form.
const TOKEN: &str = "silo_abcdefgh12_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
/// Words of libraries, which no user can do anything with.
const FOREIGN: [&str; 10] = [
    "WARN",
    "ERROR",
    "InvalidContentType",
    "UnknownIssuer",
    "invalid peer",
    "unexpected error",
    "unexpected EOF",
    "client error",
    "invalid HTTP",
    "rustls",
];

/// A TLS server with a self-signed certificate, ended when dropped.
struct TlsServer {
    child: Child,
    port: u16,
    cert: PathBuf,
}

impl TlsServer {
    /// Makes a certificate for these names (`DNS:hub.test`, `IP:127.0.0.1`) as of a day, and serves it.
    fn start(folder: &Path, day: &str, names: &str) -> Self {
        std::fs::create_dir(folder).unwrap();
        let cert = folder.join("cert.pem");
        // Without the system's defaults, which make a certificate of a CA.
        let config = "[req]\ndistinguished_name = name\n[name]\n";
        std::fs::write(folder.join("openssl.cnf"), config).unwrap();
        let made = Command::new("faketime")
            .args(["-f", &format!("@{day} 00:00:00"), "openssl"])
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '))
            .args("-config openssl.cnf -addext basicConstraints=critical,CA:FALSE".split(' '))
            .args("-days 9 -keyout key.pem -out cert.pem -subj /CN=hub.test".split(' '))
            .args(["-addext", &format!("subjectAltName={names}")])
            .current_dir(folder)
            .output()
            .expect("this test needs faketime");
        assert!(made.status.success(), "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let child = Command::new("openssl")
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}")])
            .args("-www -quiet -cert cert.pem -key key.pem".split(' '))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs openssl");
        let server = Self { child, port, cert };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "openssl s_server does not listen"
            );
            std::thread::sleep(PAUSE);
        }
        server
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn cert(&self) -> &str {
        self.cert.to_str().unwrap()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that answers everything in plain HTTP, or closes, until the test ends.
fn plain_server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that goes away early does not matter to this server.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    port
}

/// Today, as `date` writes it.
fn today() -> String {
    super::said(&run("date", &["+%F"])).trim().to_owned()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_tls_mix_up_gives_one_line_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let server = |name: &str, day: &str, names: &str| {
        TlsServer::start(&folder.path().join(name), day, names)
    };
    let by_ip = "DNS:hub.test,IP:127.0.0.1";
    let good = server("good", &today(), by_ip);
    let named = server("named", &today(), "DNS:hub.test");
    let expired = server("expired", "2020-01-01", by_ip);
    let early = server("early", "2090-01-01", by_ip);
    let plain = plain_server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let closing = plain_server("");
    let nginx = plain_server(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 54\r\n\r\nThe plain HTTP request was sent to HTTPS port, in full",
    );
    let at = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let other_pin = format!("sha256//{}=", "A".repeat(43));
    let pinned = &["--pin-sha256", other_pin.as_str()][..];
    // The hub, flags, the store of trusted certificates, and words of the line.
    let nothing = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let cases: [(String, &[&str], &str, &str); 13] = [
        (
            at("http", nothing),
            &[],
            good.cert(),
            "connection refused: check that the hub runs",
        ),
        (
            at("https", plain),
            &[],
            good.cert(),
            "write http:// in `hub`",
        ),
        (
            at("https", plain),
            pinned,
            good.cert(),
            "write http:// in `hub`",
        ),
        (
            at("https", closing),
            &[],
            good.cert(),
            "write http:// in `hub`",
        ),
        (
            at("http", good.port),
            &[],
            good.cert(),
            "write https:// in `hub`",
        ),
        (
            at("http", nginx),
            &[],
            good.cert(),
            "write https:// in `hub`",
        ),
        (good.url(), &[], named.cert(), "set `pin_sha256`"),
        (good.url(), pinned, good.cert(), "not the one in pin_sha256"),
        (good.url(), &[], "/nonexistent", "no CA store"),
        (
            named.url(),
            &[],
            named.cert(),
            "not valid for name 127.0.0.1: use a name that it contains",
        ),
        (
            named.url(),
            &["--ca-file", named.cert()],
            good.cert(),
            "not valid for name 127.0.0.1: use a name that it contains",
        ),
        (expired.url(), &[], expired.cert(), "has expired: renew it"),
        (
            early.url(),
            &[],
            early.cert(),
            "is not valid yet: check this machine's clock",
        ),
    ];
    let token = folder.path().join("token");
    write_private(&token, TOKEN);
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let verbs = [
        ("silo-upstream", "once"),
        ("silo-upstream", "check"),
        ("silo-downstream", "once"),
        ("silo-downstream", "check"),
        ("silo-downstream", "diff"),
    ];
    for (hub, flags, store, words) in cases {
        for (program, verb) in verbs {
            let mut command = Command::new(binary(program));
            command
                .args([verb, "--hub", &hub, "--silo", "office", "--token-file"])
                .arg(&token)
                .arg("--state-dir")
                .arg(folder.path().join(program))
                .args(flags)
                .env_remove("RUST_LOG")
                .env("SSL_CERT_FILE", store)
                .env("SSL_CERT_DIR", "/nonexistent");
            match program {
                "silo-upstream" => command.args(["--hostnames", "db"]),
                _ => command.arg("--hosts-file").arg(&hosts),
            };
            let ran = command.output().unwrap();
            let (stdout, stderr) = (super::text(&ran.stdout), super::text(&ran.stderr));
            let said = format!("{program} {verb} at {hub} {flags:?}: {stdout}{stderr}");
            // A client that can't be set up is a matter of the configuration.
            let is_setup = words == "no CA store" && verb != "check";
            let code = if is_setup { 2 } else { 1 };
            assert_eq!(ran.status.code(), Some(code), "{said}");
            let all = format!("{stdout}{stderr}");
            assert!(all.contains(words), "{words}: {said}");
            // One line, in words of our own.
            let lines = if verb == "check" { 0 } else { 1 };
            assert_eq!(stderr.lines().count(), lines, "{said}");
            for foreign in FOREIGN {
                assert!(!all.contains(foreign), "{foreign}: {said}");
            }
        }
    }
    assert_eq!(
        std::fs::read_to_string(hosts).unwrap(),
        "127.0.0.1 localhost\n"
    );
}
