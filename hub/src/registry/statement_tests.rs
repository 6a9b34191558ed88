//! Counts the statements of commands: a few, however many rows are affected or stored.

use silo_shared::credential::TokenId;
use silo_shared::silo::{Addresses, Hostname, SiloId};
use tempfile::TempDir;

use super::*;
use crate::config::database_url::DatabaseUrl;
use crate::domain::agents::{Agent, AgentKey, AgentName};
use crate::domain::delivery::{Outcome, Trouble};
use crate::domain::sink::{SinkFilter, SinkName};
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Role, Token, TokenSpec};
use crate::store::{
    DeliveryKind, DueName, EventDelivery, Mark, OldRows, OldSearch, SealedKey, Via, statement_count,
};

const NOW: Time = Time::from_millis(1_767_323_045_678);
const MARK: Mark = Mark { hub: 1, batch: 1 };

struct Database {
    store: Store,
    _folder: TempDir,
}

impl Database {
    /// A new test database with a state sink.
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let url = DatabaseUrl::sqlite_file(&folder.path().join("hub.db"));
        let this = Self {
            store: Store::open(&url, crate::store::Schema::Make, NOW)
                .await
                .unwrap(),
            _folder: folder,
        };
        let sink = ConfiguredSink {
            name: dns(),
            kind: "rfc2136",
            is_state: true,
            takes: SinkFilter::default(),
            fingerprint: String::new(),
            tell_failures: None,
        };
        let sinks = vec![sink];
        this.run(BeginSinks { sinks, alone: true }).await;
        this
    }

    /// Runs a command; returns its outcome and the number of statements.
    async fn run<C: Command>(&self, command: C) -> (C::Outcome, usize) {
        let mut transaction = self.store.begin_write(&[]).await.unwrap();
        statement_count::take();
        let outcome = command.run(&mut transaction, NOW).await.unwrap();
        transaction.commit(MARK, NOW).await.unwrap();
        (outcome, statement_count::take())
    }

    async fn set(&self, hostname: &str, last: u32) {
        let command = SetRecord {
            actor: actor(),
            id: office(),
            hostname: Hostname::parse(hostname).unwrap(),
            addresses: Addresses {
                v4: Some((0x0a00_0000 + last).into()),
                v6: None,
            },
            cleared: None,
            attributes: crate::domain::change::AttributePatch::default(),
            precondition: crate::domain::precondition::Precondition::default(),
        };
        self.run(command).await;
    }

    /// Enqueues a delivery in the form of version 0.1.0.
    async fn enqueue(&self, revision: i64, hostnames: &[&str]) {
        let delivery = EventDelivery {
            sink: &dns(),
            kind: DeliveryKind::Change,
            silo: &office(),
            revision: revision.into(),
            at: NOW,
            last_seen: None,
            failure: None,
        };
        let names: Vec<_> = hostnames
            .iter()
            .map(|name| (Hostname::parse(name).unwrap(), None))
            .collect();
        let mut transaction = self.store.begin_write(&[]).await.unwrap();
        transaction.enqueue_event(&delivery, &names).await.unwrap();
        transaction.commit(MARK, NOW).await.unwrap();
    }

    /// One failing attempt of everything due; returns the number of statements.
    async fn try_in_vain(&self) -> usize {
        let due = self.store.due_names(&dns(), NOW, 32).await.unwrap();
        let name = |due: DueName| {
            let name = format!("{}.example", due.hostname);
            (due, Ok(name))
        };
        let begin = BeginPublishing {
            sink: dns(),
            owner: "a".to_owned(),
            lease_seconds: 60,
            takes_host_names_only: false,
            records: due.into_iter().map(name).collect(),
        };
        let (Publishing::Names { names, through }, beginning) = self.run(begin).await else {
            panic!("there is something to send");
        };
        let vain = || Outcome::Retry(Trouble::of_name("no answer"));
        let end = EndPublishing {
            sink: dns(),
            owner: "a".to_owned(),
            ended: names.into_iter().map(|name| (name, vain())).collect(),
            through,
            jitter: 0,
        };
        beginning + self.run(end).await.1
    }
}

fn dns() -> SinkName {
    SinkName::parse("dns").unwrap()
}

fn office() -> SiloId {
    SiloId::parse("office").unwrap()
}

fn actor() -> Actor {
    Actor {
        via: Via::Rest,
        token: None,
        client_ip: None,
    }
}

#[tokio::test]
async fn a_retry_takes_as_many_statements_whatever_is_pending() {
    let mut taken = Vec::new();
    for changes in [1, 300] {
        let database = Database::new().await;
        for last in 0..changes {
            database.set("db", last).await;
        }
        taken.push(database.try_in_vain().await);
    }
    assert_eq!(taken[0], taken[1], "{taken:?}");
}

#[tokio::test]
async fn a_retry_takes_a_few_statements_however_many_names_are_due() {
    let mut taken = Vec::new();
    for names in [1, 32] {
        let database = Database::new().await;
        for at in 0..names {
            database.set(&format!("h{at}"), at).await;
        }
        taken.push(database.try_in_vain().await);
    }
    // Rows are written fifty at a time, the remainder in a few smaller sizes.
    assert!(taken[1] <= taken[0] + 10, "{taken:?}");
}

#[tokio::test]
async fn merging_names_takes_a_few_statements() {
    let database = Database::new().await;
    for revision in 1..=1500 {
        database.enqueue(revision, &["db", "web"]).await;
    }
    let mut rounds = 0;
    loop {
        let page = database
            .store
            .pending_page(&dns(), 0)
            .await
            .unwrap()
            .unwrap();
        if page.unmerged.is_empty() {
            break;
        }
        let command = MergeDeliveries {
            sink: dns(),
            names: page.unmerged,
        };
        let (_, statements) = database.run(command).await;
        assert!(statements < 50, "{statements} in one transaction");
        rounds += 1;
    }
    assert!((6..30).contains(&rounds), "{rounds}");
    assert_eq!(database.try_in_vain().await, {
        let fresh = Database::new().await;
        fresh.enqueue(1, &["db"]).await;
        fresh.enqueue(1, &["web"]).await;
        fresh.try_in_vain().await
    });
}

#[tokio::test]
async fn use_is_written_down_by_a_few_statements() {
    let database = Database::new().await;
    let records = (0..1000).map(|at| {
        let hostname = Hostname::parse(&format!("h{at}")).unwrap();
        (office(), hostname, NOW)
    });
    let token = |at: u32| TokenId::parse(&format!("{at:010}")).unwrap();
    let command = WriteDownUse {
        records: records.collect(),
        tokens: (0..1000).map(|at| (token(at), NOW)).collect(),
    };
    let (_, statements) = database.run(command).await;
    assert!(statements <= 2000 / 50 + 2, "{statements}");
}

#[tokio::test]
async fn old_rows_go_by_a_few_statements() {
    let database = Database::new().await;
    for at in 0..200 {
        let id = SiloId::parse(&format!("s{at}")).unwrap();
        let mut transaction = database.store.begin_write(&[]).await.unwrap();
        let revision = transaction.take_revision(&id);
        let head = crate::store::SiloHead {
            revision,
            updated_at: NOW,
            deleted: true,
        };
        transaction.set_silo_head(&id, head);
        transaction.commit(MARK, NOW).await.unwrap();
        database.set("db", at).await;
        if at % 2 == 0 {
            database.try_in_vain().await;
        }
    }
    let before = NOW.plus_seconds(1);
    let search = OldSearch::begin(before, before, 500);
    for kind in OldRows::ALL {
        let keys = database.store.old_rows(kind, &search).await.unwrap();
        let (gone, statements) = database.run(PurgeOld { kind, before, keys }).await;
        assert!(statements < 25, "{kind:?}: {statements} for {gone}");
        let left = database.store.old_rows(kind, &search).await.unwrap();
        assert_eq!(left, [] as [i64; 0], "{kind:?}");
    }
}

#[tokio::test]
async fn agents_take_a_few_statements_however_many_rows_there_are() {
    const AGENTS: u32 = 200;
    let database = Database::new().await;
    database.set("db", 1).await;
    let id = |at: u32| TokenId::parse(&format!("{at:010}")).unwrap();
    for at in 0..AGENTS {
        let token = Token {
            id: id(at),
            spec: TokenSpec {
                name: "reader".to_owned(),
                role: Role::Read,
                silos: vec!["office".to_owned()],
                hostnames: None,
                expires_at: None,
            },
            created_at: NOW,
            revoked_at: None,
            last_used_at: None,
        };
        let create = CreateToken {
            token,
            credential_hash: CredentialHash::parse(&"1".repeat(64)).unwrap(),
            signing_key: SealedKey(String::new()),
            sealed_by: String::new(),
        };
        database.run(create).await;
    }
    let agents = |seconds: i64| -> Vec<Agent> {
        let agent = |at| Agent {
            key: AgentKey {
                silo: office(),
                name: AgentName::parse("laptop").unwrap(),
                token: id(at),
            },
            kind: None,
            version: None,
            applied: None,
            last_seen: NOW.plus_seconds(seconds),
            address: [192, 0, 2, 1].into(),
        };
        // The last one's token does not exist.
        (0..=AGENTS).map(agent).collect()
    };
    for seconds in [0, 60] {
        let (left_out, statements) = database.run(WriteAgents(agents(seconds))).await;
        assert_eq!(left_out.len(), 1);
        assert!(statements < 30, "{statements} statements");
    }
    let stored = database.store.agents(&office(), None, 1000).await.unwrap();
    assert_eq!(stored, agents(60)[..200]);
}
