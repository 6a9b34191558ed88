//! Mix-ups of TLS are one line that says what is wrong and what to do. OpenSSL's `s_server` is the other side.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::Agent;

/// A TLS server with a self-signed certificate, ended when dropped.
struct TlsServer {
    child: Child,
    port: u16,
}

impl TlsServer {
    fn start(folder: &Path) -> Self {
        let made = Command::new("openssl")
            .args(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9"
                    .split(' '),
            )
            .args("-keyout key.pem -out cert.pem -subj /CN=hub.test".split(' '))
            .args(["-addext", "subjectAltName=DNS:hub.test,IP:127.0.0.1"])
            .current_dir(folder)
            .output()
            .expect("this test needs openssl");
        assert!(made.status.success(), "{made:?}");
        let port = free_port();
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-accept",
                &format!("127.0.0.1:{port}"),
                "-www",
                "-quiet",
            ])
            .args(["-cert", "cert.pem", "-key", "key.pem"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs openssl");
        let server = Self { child, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "openssl s_server does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound address").port()
}

/// A server that answers everything in plain HTTP, or closes, until the test ends.
fn plain_server(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound address").port();
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

#[test]
fn a_tls_mix_up_gives_one_line_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tls = TlsServer::start(folder.path());
    let plain = plain_server("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let closing = plain_server("");
    let nginx = plain_server(
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 54\r\n\r\nThe plain HTTP request was sent to HTTPS port, in full",
    );
    let other_pin = format!("pin_sha256: sha256//{}=\n", "A".repeat(43));
    let no_roots = [
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    type Case<'a> = (String, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 8] = [
        (
            format!("https://127.0.0.1:{plain}"),
            "",
            &[],
            "write http:// in `hub`",
        ),
        (
            format!("https://127.0.0.1:{plain}"),
            &other_pin,
            &[],
            "write http:// in `hub`",
        ),
        (
            format!("https://127.0.0.1:{closing}"),
            "",
            &[],
            "write http:// in `hub`",
        ),
        (
            format!("http://127.0.0.1:{}", tls.port),
            "",
            &[],
            "write https:// in `hub`",
        ),
        (
            format!("http://127.0.0.1:{nginx}"),
            "",
            &[],
            "write https:// in `hub`",
        ),
        (
            format!("https://127.0.0.1:{}", tls.port),
            "",
            &[],
            "set `pin_sha256`",
        ),
        (
            format!("https://127.0.0.1:{}", tls.port),
            &other_pin,
            &[],
            "not the one in pin_sha256",
        ),
        (
            format!("https://127.0.0.1:{}", tls.port),
            "",
            &no_roots,
            "no CA store",
        ),
    ];
    for (hub, more, variables, words) in cases {
        for verb in ["once", "check"] {
            let mut agent = Agent::new(&hub, more).args([verb]);
            // So that a machine without certificates of its own sees the same.
            agent = agent.env(
                "SSL_CERT_FILE",
                folder.path().join("cert.pem").to_str().unwrap(),
            );
            if words.contains("`pin_sha256`") {
                agent = agent.env("SSL_CERT_FILE", "other.pem");
                let other = tempfile::tempdir().expect("a temporary folder");
                let server = TlsServer::start(other.path());
                drop(server);
                let pem = std::fs::read_to_string(other.path().join("cert.pem")).unwrap();
                agent.write("other.pem", &pem, 0o600);
            }
            for (name, value) in variables {
                agent = agent.env(name, value);
            }
            let ran = agent.run();
            let said = format!("{verb} at {hub} {more}: {ran:?}");
            assert_eq!(ran.code, Some(1), "{said}");
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(all.contains(words), "{words}: {said}");
            // One line, in words of our own.
            assert_eq!(
                ran.stderr.lines().count(),
                usize::from(verb == "once"),
                "{said}"
            );
            for foreign in [
                "WARN",
                "ERROR",
                "InvalidContentType",
                "UnknownIssuer",
                "invalid peer",
                "unexpected error",
                "unexpected EOF",
                "client error",
                "invalid HTTP",
            ] {
                assert!(!all.contains(foreign), "{foreign}: {said}");
            }
        }
    }
}
