//! Mails that their server confirms late.

use serde_json::Value;
use silo_e2e::smtp::{Security, SmtpServer};
use silo_e2e::{Caller, Hub};

use super::{configure, deliveries, settled};

/// Before, a mail that was not confirmed within 25 s was sent again after 1, 2, 4 … seconds, and the
/// second recipient got nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_confirmed_late_is_sent_once_and_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let smtp = SmtpServer::start(Security::None, false);
    smtp.set_late(true);
    let sink = format!(
        "  - name: mail\n    kind: email\n    smtp: {{host: 127.0.0.1, port: {}, tls: none}}\n    \
         from: silo@example.net\n    to: [late@example.net, ops@example.net]\n",
        smtp.port()
    );
    configure(folder.path(), &[sink]);
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    admin.put_ip("office", "db", "10.0.0.5").await.unwrap();
    smtp.wait_for(2);
    admin.put_ip("office", "web", "10.0.0.6").await.unwrap();
    smtp.wait_for(4);
    // Its next change goes to the other recipient at once.
    admin.put_ip("office", "db", "10.0.0.7").await.unwrap();
    smtp.wait_for(5);
    silo_e2e::until("all wait for the server", async || {
        let pending = deliveries(&admin, "state=pending").await;
        let waits = |row: &Value| row["why"] == "sent; the receiver has not answered yet";
        (pending.len() == 3 && pending.iter().all(waits)).then_some(())
    })
    .await;
    smtp.set_late(false);
    settled(&admin).await;
    let done = deliveries(&admin, "state=done").await;
    assert_eq!(done.len(), 3, "{done:#?}");
    let mails = smtp.mails();
    let mut sent: Vec<_> = mails
        .iter()
        .map(|mail| (mail.receivers()[0], mail.header("Subject")))
        .collect();
    sent.sort_unstable();
    let expected = [
        ("late@example.net", "office/db: 10.0.0.5 → 10.0.0.7"),
        ("late@example.net", "office/db: now 10.0.0.5"),
        ("late@example.net", "office/web: now 10.0.0.6"),
        ("ops@example.net", "office/db: 10.0.0.5 → 10.0.0.7"),
        ("ops@example.net", "office/db: now 10.0.0.5"),
        ("ops@example.net", "office/web: now 10.0.0.6"),
    ];
    assert_eq!(sent, expected);
}
