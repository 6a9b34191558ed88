//! Mail that is handed to sendmail.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use silo_e2e::smtp::ReceivedMail;
use silo_hub::internals::deliver::sink::{Outcome, Reach};

use super::{change, open, refused, retried, tell_one};

/// A replacement for sendmail: stores its arguments and its input, then exits with the given status.
fn sendmail(folder: &Path, last_lines: &str) -> String {
    let path = folder.join("sendmail");
    let script = format!(
        "#!/bin/sh\nset -e\ncd '{}'\nprintf '%s\\n' \"$@\" > arguments\ncat > mail\n{last_lines}\n",
        folder.display()
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    "sendmail: sendmail\nfrom: silo@example.net\nto: [ops@example.net]\nhtml: '<p>{event}</p>'\n"
        .to_owned()
}

#[tokio::test]
async fn sendmail_gets_the_mail_and_its_exit_status_is_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let event = change(1, "db", "10.0.0.5", "10.0.0.6");
    let keys = sendmail(folder.path(), "exit 0");
    let sink = open(folder.path(), &keys);
    assert!(sink.check().await.unwrap().ends_with("/sendmail exists"));
    let result = tell_one(&*sink, &event).await;
    assert_eq!(result.outcome, Outcome::Done);
    assert_eq!(result.notified, ["ops@example.net"]);
    let arguments = std::fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert_eq!(arguments, "-i\n-f\nsilo@example.net\n--\nops@example.net\n");
    let stored = std::fs::read(folder.path().join("mail")).unwrap();
    assert!(!stored.contains(&b'\r'));
    let mail = ReceivedMail::read(&folder.path().join("mail"));
    assert_eq!(mail.header("Subject"), "office/db: 10.0.0.5 → 10.0.0.6");
    assert_eq!(mail.0["kind"], "multipart/alternative");
    assert_eq!(mail.0["defects"], serde_json::json!([]));

    sendmail(folder.path(), "echo \"who is $5?\" >&2; exit 67");
    refused(&tell_one(&*sink, &event).await, "who is <address>");
    sendmail(folder.path(), "exit 75");
    retried(&tell_one(&*sink, &event).await, Reach::Name, "75");
    sendmail(folder.path(), "exit 1");
    retried(
        &tell_one(&*sink, &event).await,
        Reach::Sink,
        "exit status: 1",
    );
    std::fs::remove_file(folder.path().join("sendmail")).unwrap();
    retried(&tell_one(&*sink, &event).await, Reach::Sink, "No such file");
    assert!(sink.check().await.unwrap_err().contains("No such file"));
}

#[tokio::test]
async fn the_status_of_a_sendmail_that_reads_nothing_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let keys = sendmail(folder.path(), "");
    let script = "#!/bin/sh\nexit 68\n";
    std::fs::write(folder.path().join("sendmail"), script).unwrap();
    let sink = open(folder.path(), &keys);
    let mut event = change(1, "db", "", "10.0.0.6");
    // More than a pipe holds.
    for number in 0..2000 {
        let name = format!("host-{number}");
        event
            .changes
            .extend(change(1, &name, "", "10.0.0.6").changes);
    }
    refused(&tell_one(&*sink, &event).await, "68");
}
