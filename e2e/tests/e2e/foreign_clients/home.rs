//! A hub as clients see it, and the page that says how to set them up.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::Value;
use silo_e2e::relay::Relay;
use silo_e2e::{Caller, Hub, stanza};
use tempfile::TempDir;

use super::PAGE;

/// Where clients send updates.
pub(crate) const UPDATE: &str = "/nic/update";
/// A credential of no hub.
pub(crate) const WRONG: &str = "silo_aaaaaaaaaa_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// A home: a hub, a relay before it, and a token for a few hosts.
pub(crate) struct Home {
    pub(crate) hub: Option<Hub>,
    pub(crate) relay: Option<Relay>,
    pub(crate) admin: Caller,
    pub(crate) token: String,
    pub(crate) folder: TempDir,
}

impl Home {
    pub(crate) fn start(client: &str) -> Self {
        let folder = TempDir::with_prefix("silo-").unwrap();
        std::fs::write(
            folder.path().join("hub.yaml"),
            "trusted_proxies: [127.0.0.0/8]\n",
        )
        .unwrap();
        let hub = Hub::start(folder.path());
        let token = hub.token(&[
            "--name",
            "router",
            "--role",
            "write",
            "--silo",
            "home",
            "--hostname",
            "router",
            "--hostname",
            "nas",
            "--hostname",
            "cam",
        ]);
        Self {
            relay: Some(Relay::start(hub.url(), client)),
            admin: Caller::new(&hub, &hub.admin_token()),
            hub: Some(hub),
            token,
            folder,
        }
    }

    pub(crate) fn hub(&self) -> &Hub {
        self.hub.as_ref().unwrap()
    }

    pub(crate) fn relay(&self) -> &Relay {
        self.relay.as_ref().unwrap()
    }

    /// A stanza of the page with this home's address and token.
    pub(crate) fn filled(&self, name: &str) -> String {
        let text = stanza(PAGE, name);
        assert!(text.contains("10.0.0.1:8053"), "{text}");
        let text = text.replace("10.0.0.1:8053", &self.relay().address());
        text.replace("silo_…", &self.token)
    }

    pub(crate) async fn ips(&self, hostname: &str) -> Value {
        let (status, record) = self
            .admin
            .get(&format!("/silos/home/records/{hostname}"))
            .await;
        match status {
            200 => record["ips"].clone(),
            404 => Value::Null,
            _ => panic!("{status} {record}"),
        }
    }

    pub(crate) fn updates(&self) -> usize {
        self.relay().requests(UPDATE).len()
    }

    /// Ten wrong passwords from where the clients are.
    pub(crate) async fn use_up_failures(&self, from: &str) {
        let stranger = Caller::new(self.hub(), WRONG);
        for _ in 0..10 {
            let request = stranger.request(Method::GET, UPDATE);
            let answer = request
                .header("x-forwarded-for", from)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 401);
        }
    }

    /// No secret, and nothing of a target, is in the hub's log.
    pub(crate) fn check_log(&self) {
        let log = self.hub().log();
        assert!(log.contains("route=\"/nic/update\""), "{log}");
        let secret = self.token.splitn(3, '_').nth(2).unwrap();
        for text in [
            secret,
            WRONG,
            "myip",
            "hostname=",
            &STANDARD.encode("home:silo"),
        ] {
            assert!(!log.contains(text), "{text} is in the log:\n{log}");
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder for PATH whose `ip` answers the pages' one question as a machine with this address does, which has a
    /// temporary and a deprecated address beside it (RFC 8981), and the kernel lists those first.
    pub(crate) fn path_with_ip(&self, address: &str) -> String {
        let bin = self.path("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let script = format!(
            "#!/bin/sh\n\
             case \"$*\" in\n\
             '-6 -o address show dev eth0 scope global -temporary -deprecated') ;;\n\
             '-6 -o address show dev eth0 scope global')\n\
             echo '2: eth0    inet6 2001:db8::bad/64 scope global temporary dynamic \
             \\       valid_lft 86154sec preferred_lft 14154sec'\n\
             echo '2: eth0    inet6 2001:db8::dead/64 scope global deprecated dynamic \
             \\       valid_lft 86154sec preferred_lft 0sec' ;;\n\
             *) exit 1 ;;\n\
             esac\n\
             echo '2: eth0    inet6 {address}/64 scope global dynamic mngtmpaddr \
             \\       valid_lft 86154sec preferred_lft 14154sec'\n"
        );
        std::fs::write(bin.join("ip"), script).unwrap();
        std::fs::set_permissions(bin.join("ip"), std::fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
    }
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
