use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use super::super::sink::{Outcome, Reach};
use super::*;
use crate::deliver::test_sinks::{change, event, open_event_sink};

fn open_sink(port: u16) -> Box<dyn EventSink> {
    let yaml = format!(
        "sinks: [{{name: mail, kind: email, smtp: {{host: 127.0.0.1, port: {port}, tls: none}}, \
         from: silo@x.net, to: [a@x.net, b@x.net, c@x.net, d@x.net, e@x.net, f@x.net, g@x.net, \
         h@x.net]}}]"
    );
    open_event_sink(Path::new("/"), &yaml)
}

fn retried_of_sink(result: &DeliveryResult) -> &str {
    match &result.outcome {
        Outcome::Retry(trouble) if trouble.reach == Reach::Sink => &trouble.why,
        other => panic!("{other:?}"),
    }
}

/// With paused time, the clock advances whenever all tasks are idle.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_before_the_workers_deadline() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let sink = open_sink(listener.local_addr().unwrap().port());
    let events = [event(1, vec![change("db", "", "10.0.0.2")])];
    let begin = Instant::now();
    let results = sink.tell(&events).await;
    let why = retried_of_sink(&results[0]);
    assert!(
        why.contains("in time") || why.contains("timed out"),
        "{why}"
    );
    assert!(begin.elapsed() < SEND_DEADLINE);
    assert!(sink.check().await.is_err());
}

/// Accepts every mail; before it confirms one, it requests time to pass and waits for that. Returns
/// the receivers.
fn slow_server(
    listener: &TcpListener,
    time_passes: &mpsc::UnboundedSender<oneshot::Sender<()>>,
) -> Vec<String> {
    let (stream, _) = listener.accept().unwrap();
    let mut output = stream.try_clone().unwrap();
    let mut say = |line: &str| output.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    let mut receivers = Vec::new();
    let mut in_message = false;
    say("220 slow");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        match line.split_once(' ').map_or(line.as_str(), |(verb, _)| verb) {
            "." if in_message => {
                let (done, passed) = oneshot::channel();
                time_passes.send(done).unwrap();
                passed.blocking_recv().unwrap();
                in_message = false;
                say("250 taken");
            }
            _ if in_message => {}
            "RCPT" => {
                receivers.push(line);
                say("250 ok");
            }
            "DATA" => {
                in_message = true;
                say("354 go on");
            }
            "QUIT" => break,
            _ => say("250 ok"),
        }
    }
    receivers
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_would_not_be_sent_in_time_is_left_for_the_next_attempt() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let sink = open_sink(listener.local_addr().unwrap().port());
    let (time_passes, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    // While a blocking task runs, paused time does not advance on its own.
    let server = tokio::task::spawn_blocking(move || slow_server(&listener, &time_passes));
    let clock = tokio::spawn(async move {
        while let Some(done) = asked.recv().await {
            tokio::time::advance(Duration::from_secs(4)).await;
            done.send(()).unwrap();
        }
    });
    let events = [event(1, vec![change("db", "", "10.0.0.2")])];
    let results = sink.tell(&events).await;
    assert_eq!(results[0].notified.len(), 6);
    assert_eq!(retried_of_sink(&results[0]), "6 of 8 mails sent in time");
    assert_eq!(server.await.unwrap().len(), 6);
    clock.await.unwrap();
}
