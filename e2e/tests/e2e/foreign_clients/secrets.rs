//! No secret is in a log, an error or a file: the hub at its most talkative, called in every way there is.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use silo_e2e::provider::{PASSWORD, Provider, USERNAME};
use silo_e2e::{CLIENT, Hub, PATIENCE, TRUSTS_LOOPBACK, binary};

use super::home::WRONG;

const KEY: &str = "update-key-5b1cf0?a=b,c&%2F";
const WRONG_KEY: &str = "wrong-key-77e02d";
const WRONG_PASSWORD: &str = "password-d14ac9";
const IN_QUERY: &str = "query-31f9be";
const IN_BODY: &str = "body-9c0d22";
const MAIL: &str = "mail-4410ab@example.org";
const SECID: &str = "secid-e07a35";
const WRONG_SECID: &str = "wrong-secid-2bb8d1";
const LOGIN: &str = "login-86f24a";
const PASS: &str = "pass-c93e17 and more";
const REFUSED_MAIL: &str = "mail-f0a9d3@example.net";

/// Sends a request unchanged; returns the response until the hub closes the connection.
fn send(hub: &Hub, request: &str) -> String {
    let mut stream = TcpStream::connect(hub.url().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well: the hub need not read what it does not understand.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request with this login and body, from an address that can be published.
fn request(line: &str, authorization: Option<&str>, body: &str) -> String {
    let authorization = authorization.map(|text| format!("Authorization: {text}\r\n"));
    format!(
        "{line} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nX-Forwarded-For: {CLIENT}\r\n{}Content-Length: {}\r\n\r\n{body}",
        authorization.unwrap_or_default(),
        body.len()
    )
}

/// What every file of a folder holds, but those that are secret themselves.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let names = names.map(|entry| entry.file_name().into_string().unwrap());
    names
        .filter(|name| !matches!(name.as_str(), "admin.token" | "hub.key"))
        .map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap()))
        .collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|at| at == text.as_bytes())
}

fn bearer(credential: &str) -> String {
    format!("Bearer {credential}")
}

fn basic(credential: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("home:{credential}")))
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A form of dynahost, with a login at the provider.
fn dynahost(host: &str, secid: &str, [login, pass, mail]: [&str; 3]) -> String {
    format!(
        "backend=ovh&secid={secid}&host={host}.dyn.example.net&login={}&pass={}&email={}",
        encoded(login),
        encoded(pass),
        encoded(mail)
    )
}

/// A hub at its most talkative, and what it has said so far.
struct Scene {
    hub: Hub,
    admin: String,
    token: String,
    made_key: String,
    /// What the command line wrote to stderr.
    errors: Vec<String>,
    answers: RefCell<Vec<String>>,
    _provider: Provider,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let provider = Provider::start(&["a.dyn.example.net", "b.dyn.example.net"]);
        let settings = format!(
            "{TRUSTS_LOOPBACK}\
             compat: {{sftdyn: true, dynahost: {{silo: home, hostnames: ['*.dyn.example.net']}}}}\n\
             sinks:\n\
             - {{name: ovh, kind: dyndns2, url: {:?}, logins: dynahost}}\n\
             - {{name: mail, kind: email, sendmail: /bin/false, from: silo@example.net, \
             allow_to: ['*@example.org']}}\n",
            provider.url()
        );
        std::fs::write(folder.path().join("hub.yaml"), settings).unwrap();
        let hub = Hub::start_under(&["env", "RUST_LOG=trace"], folder.path());
        let mut scene = Self {
            admin: hub.admin_token(),
            hub,
            token: String::new(),
            made_key: String::new(),
            errors: Vec::new(),
            answers: RefCell::default(),
            _provider: provider,
            _folder: folder,
        };
        let make = ["token", "create", "--name", "x", "--role", "write"];
        scene.token = scene.cli(&[&make[..], &["--silo", "home"]].concat());
        let add = ["update-key", "add", "--silo", "home", "--hostname", "nas"];
        scene.cli(&[&add[..], &["--key", KEY]].concat());
        scene.made_key = scene.cli(&add);
        scene
    }

    /// What the command line prints; a credential is on stdout alone.
    fn cli(&mut self, arguments: &[&str]) -> String {
        let output = Command::new(binary("silo-hub"))
            .args(arguments)
            .arg("--data-dir")
            .arg(self.hub.data_dir())
            .env("RUST_LOG", "trace")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        self.errors.push(error);
        let printed = String::from_utf8(output.stdout).unwrap();
        printed.trim().to_owned()
    }

    /// Sends a request unchanged and keeps the response.
    fn send(&self, request: &str) -> String {
        let answer = send(&self.hub, request);
        self.answers.borrow_mut().push(answer.clone());
        answer
    }

    fn call(&self, line: &str, authorization: Option<&str>, body: &str, status: u16) {
        let answer = self.send(&request(line, authorization, body));
        let begins = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&begins), "{line}: {status}: {answer}");
    }

    fn call_rest_and_dyndns2(&self) {
        let record = format!("{{\"ip\":\"10.0.0.5\",\"notify\":\"{MAIL}\"}}");
        let more = format!("{{\"ip\":\"10.0.0.5\",\"password\":\"{IN_BODY}\"}}");
        let silo = r#"{"dnsrecords":[{"hostname":"cam","ip":"10.0.0.6"}]}"#;
        let broken = format!("{{\"dnsrecords\":[{{\"{IN_BODY}\":");
        let (admin, token) = (&*self.admin, &*self.token);
        let cam = "PUT /silos/home/records/cam";
        self.call("GET /silos", Some(&bearer(admin)), "", 200);
        self.call(cam, Some(&basic(admin)), &record, 201);
        for login in [bearer(token), basic(token), basic(admin)] {
            let login = Some(&*login);
            self.call(cam, login, &record, 200);
            self.call(cam, login, &more, 422);
            self.call("PUT /silos/home", login, silo, 200);
            self.call("PUT /silos/home", login, &broken, 400);
            self.call(&format!("GET /silos/home?token={IN_QUERY}"), login, "", 422);
            self.call(&format!("GET /silos/none?token={IN_QUERY}"), login, "", 422);
            for path in ["/nic/update", "/v3/update"] {
                let query = format!("hostname=nas&myip=10.0.0.7&password={IN_QUERY}");
                self.call(&format!("GET {path}?{query}"), login, "", 200);
                self.call(&format!("POST {path}?{query}"), login, "", 200);
            }
        }
    }

    /// With a login that is right at the provider, and one that is wrong.
    fn call_dynahost(&self) {
        for (host, login) in [
            ("a", [USERNAME, PASSWORD, MAIL]),
            ("b", [LOGIN, PASS, MAIL]),
        ] {
            let form = dynahost(host, SECID, login);
            for route in ["/update", "/log"] {
                let get = request(&format!("GET {route}?{form}"), None, "");
                let post = request(&format!("POST {route}"), Some(&bearer(&self.token)), &form);
                for request in [get, post] {
                    let answer = self.send(&request);
                    // Once the provider has refused the login of `b`, the response reports it.
                    let is_refused = host == "b" && answer.starts_with("HTTP/1.1 403 ");
                    assert!(
                        answer.starts_with("HTTP/1.1 200 ") || is_refused,
                        "{host} {route}: {answer}"
                    );
                }
                self.call(&format!("PUT {route}?{form}"), None, "", 405);
            }
            let form = dynahost(host, SECID, [login[0], login[1], REFUSED_MAIL]);
            self.call(&format!("GET /update?{form}"), None, "", 400);
            let form = dynahost(host, SECID, [login[0], "a\nb", MAIL]) + "&pass=" + &encoded(PASS);
            self.call("POST /update", None, &form, 400);
            let form = dynahost(host, SECID, [&format!("{LOGIN}:"), login[1], MAIL]);
            self.call("POST /update", None, &form, 400);
        }
    }

    /// Wrong credentials of each protocol, until more are not looked at.
    fn guess(&self) {
        let guess = dynahost("a", WRONG_SECID, [LOGIN, PASS, MAIL]);
        self.call(&format!("GET /update?{guess}"), None, "", 403);
        let wrong = [
            bearer(WRONG),
            basic(WRONG),
            basic(WRONG_PASSWORD),
            bearer(WRONG_PASSWORD),
        ];
        for (login, at) in wrong.iter().zip(0..) {
            // Of too many at once, the last are not looked at.
            let path = ["/silos/home", "/nic/update"][at % 2];
            self.call(&format!("GET {path}?hostname=nas"), Some(login), "", 401);
        }
        let (made, token) = (&self.made_key, bearer(&self.token));
        for before in ["/u/", "/"] {
            self.call(&format!("GET {before}{KEY}"), None, "", 200);
            self.call(&format!("GET {before}{made}"), Some(&token), "", 200);
            self.call(&format!("HEAD {before}{made}"), None, "", 405);
            self.call(&format!("POST {before}{made}"), None, "", 405);
            for _ in 0..4 {
                self.call(&format!("GET {before}{WRONG_KEY}"), None, "", 403);
            }
        }
        for route in ["/update", "/log"] {
            self.call(&format!("GET {route}?{guess}"), None, "", 429);
            self.call(&format!("POST {route}"), None, &guess, 429);
        }
    }

    /// Waits until the provider has refused one login and the mail program has failed.
    fn see_failed_deliveries(&self) {
        let deadline = Instant::now() + PATIENCE;
        for (sink, says) in [("ovh", "login"), ("mail", "/bin/false: ")] {
            loop {
                let told = ["failed", "pending"].map(|state| {
                    let line = format!("GET /deliveries?sink={sink}&state={state}");
                    self.send(&request(&line, Some(&bearer(&self.admin)), ""))
                });
                if told.iter().any(|answer| answer.contains(says)) {
                    break;
                }
                assert!(Instant::now() < deadline, "{told:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn send_invalid_http(&self) {
        let guess = dynahost("a", WRONG_SECID, [LOGIN, PASS, MAIL]);
        let (token, made_key) = (&self.token, &self.made_key);
        for request in [
            format!("GET /u/{KEY} HTTP/9.9\r\nHost: hub\r\n\r\n"),
            format!("GET /u/{made_key}\u{1} HTTP/1.1\r\nHost: hub\r\n\r\n"),
            format!("GET /update?{guess} HTTP/9.9\r\nHost: hub\r\n\r\n"),
            format!("GET /log?{guess}\u{1} HTTP/1.1\r\nHost: hub\r\n\r\n"),
            format!(
                "GET /silos/home HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {token}\0\r\n\r\n"
            ),
            format!(
                "GET /silos/home HTTP/1.1\r\nHost: hub\r\nAuthorization {}\r\n\r\n",
                basic(token)
            ),
            format!("{} / HTTP/1.1\r\n\r\n", bearer(token)),
        ] {
            self.send(&request);
        }
    }

    fn secrets(&self) -> Vec<String> {
        let mut secrets = [
            KEY,
            WRONG_KEY,
            WRONG,
            WRONG_PASSWORD,
            IN_QUERY,
            IN_BODY,
            SECID,
            WRONG_SECID,
            USERNAME,
            PASSWORD,
            LOGIN,
            PASS,
            REFUSED_MAIL,
            &*self.made_key,
        ]
        .map(str::to_owned)
        .to_vec();
        for credential in [&self.token, &self.admin] {
            secrets.push(credential[16..].to_owned());
        }
        for credential in [&*self.token, &*self.admin, WRONG, WRONG_PASSWORD] {
            secrets.push(STANDARD.encode(format!("home:{credential}")));
        }
        for (login, pass) in [(USERNAME, PASSWORD), (LOGIN, PASS)] {
            secrets.push(STANDARD.encode(format!("{login}:{pass}")));
        }
        for secret in [PASSWORD, PASS, REFUSED_MAIL] {
            secrets.push(encoded(secret));
        }
        secrets
    }
}

#[test]
fn no_secret_is_in_a_log_an_answer_or_a_file() {
    let scene = Scene::start();
    scene.call_rest_and_dyndns2();
    scene.call_dynahost();
    scene.guess();
    scene.see_failed_deliveries();
    scene.send_invalid_http();

    let secrets = scene.secrets();
    let log = scene.hub.log();
    for route in [
        "/silos/{id}",
        "/nic/update",
        "/v3/update",
        "/u/{*key}",
        "/update",
        "/log",
    ] {
        let route = format!("route=\"{route}\"");
        assert!(log.contains(&route), "{route} was not called:\n{log}");
    }
    assert!(log.contains(" DEBUG "), "the hub could say more");
    for secret in &secrets {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
        for error in &scene.errors {
            assert!(!error.contains(secret), "{secret} is in stderr:\n{error}");
        }
        for answer in scene.answers.borrow().iter() {
            assert!(!answer.contains(secret), "{secret} is in {answer}");
        }
    }
    let name = MAIL.split('@').next().unwrap();
    assert!(!log.contains(name), "a mail address is in the log:\n{log}");
    // While it serves, with what is not yet in the database's own file, and after that.
    let data_dir = scene.hub.data_dir().to_owned();
    let serving = files(&data_dir);
    assert_eq!(scene.hub.stop(), Some(0));
    let stopped = files(&data_dir);
    assert!(
        stopped
            .iter()
            .any(|(name, bytes)| name == "hub.db" && holds(bytes, MAIL))
    );
    for (name, bytes) in serving.iter().chain(&stopped) {
        for secret in &secrets {
            assert!(!holds(bytes, secret), "{secret} is in {name}");
        }
    }
}
