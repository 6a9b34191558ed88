//! Upstream agents that stay, against a real hub.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::Value;
use silo_e2e::{Caller, Hub, binary, until, write_private};

/// `silo-upstream watch` in a folder of its own; killed when dropped.
struct Staying {
    folder: PathBuf,
    child: Child,
}

impl Staying {
    /// Reports this address as `db` in silo `office`.
    fn start(folder: &Path, name: &str, hub: &Hub, credential: &str, ip: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        write_private(&folder.join("token"), credential);
        let config = format!(
            "hub: {}\ntoken_file: token\nsilo: office\nhostnames: [db]\nstate_dir: state\naddresses: {{ command: [echo, {ip}] }}\n",
            hub.url()
        );
        write_private(&folder.join("upstream.yaml"), &config);
        let file = |name| File::create(folder.join(name)).unwrap();
        let child = Command::new(binary("silo-upstream"))
            .args(["watch", "--config"])
            .arg(folder.join("upstream.yaml"))
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Self { folder, child }
    }

    fn said(&self, stream: &str) -> String {
        std::fs::read_to_string(self.folder.join(stream)).unwrap()
    }

    /// Ends it by SIGTERM.
    fn end(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // It has ended already if the test got that far.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The addresses of `db`.
async fn held(admin: &Caller) -> Option<Value> {
    let (status, record) = admin.get("/silos/office/records/db").await;
    (status == 200).then(|| record["ips"].clone())
}

async fn wait_for(admin: &Caller, ip: &str) {
    until(ip, async || {
        (held(admin).await? == serde_json::json!([ip])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_others_change_at_the_hub_is_put_right() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start_on_chosen(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let write = ["--name", "nas", "--role", "write", "--silo", "office"];
    let token = hub.token(&write);
    let staying = Staying::start(folder.path(), "nas", &hub, &token, "10.0.0.5");
    wait_for(&admin, "10.0.0.5").await;
    admin.put_ip("office", "db", "10.0.0.66").await.unwrap();
    wait_for(&admin, "10.0.0.5").await;
    let lines = "office: db set to 10.0.0.5, revision";
    // Printed once the hub has answered, which has it before.
    until("the line of the correction", async || {
        let corrected = "office: db 10.0.0.66 → 10.0.0.5, revision";
        staying.said("stdout").contains(corrected).then_some(())
    })
    .await;
    assert!(staying.said("stdout").starts_with(lines));
    assert_eq!(staying.said("stderr"), "");
    assert_eq!(staying.end(), Some(0));
}

#[tokio::test]
async fn two_agents_with_one_hostname_stop_fighting() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start_on_chosen(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let write = ["--name", "nas", "--role", "write", "--silo", "office"];
    let token = hub.token(&write);
    let one = Staying::start(folder.path(), "one", &hub, &token, "10.0.0.1");
    wait_for(&admin, "10.0.0.1").await;
    let two = Staying::start(folder.path(), "two", &hub, &token, "10.0.0.2");
    for (agent, other) in [(&one, "10.0.0.2"), (&two, "10.0.0.1")] {
        until("it says that it gives up", async || {
            let words = format!("another program sets it to {other} and was corrected three times");
            agent.said("stderr").contains(&words).then_some(())
        })
        .await;
        assert_eq!(agent.said("stderr").lines().count(), 1);
        // Its first report, and three corrections.
        assert_eq!(agent.said("stdout").lines().count(), 4);
    }
    let (_, history) = admin.get("/silos/office/history").await;
    assert_eq!(history.as_array().unwrap().len(), 8, "{history}");
    assert_eq!((one.end(), two.end()), (Some(0), Some(0)));
}
