use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

use super::*;
use crate::invitation::PublicKey;
use crate::silo::{Hostname, SiloId};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is answered.
    Answered,
    /// It is carried out, and the answer is lost.
    Lost,
    /// It never arrives.
    Undelivered,
}

/// A hub that keeps what a hub keeps: the newest redemption, and the tokens that were confirmed.
struct FakeHub {
    invitation: Invitation,
    redeemed: Cell<u8>,
    pending: RefCell<Option<Credential>>,
    tokens: RefCell<Vec<Credential>>,
    /// What becomes of the next call of each kind.
    redemption: Cell<Fate>,
    confirmation: Cell<Fate>,
    /// Whether the invitation was removed, as a day after its use.
    is_purged: Cell<bool>,
    grants: RefCell<Vec<String>>,
}

fn lost() -> JoinError {
    JoinError::Usage("the connection was lost".to_owned())
}

impl FakeHub {
    fn new() -> Self {
        let key = Credential::parse(&format!("silo_abcdefgh12_{}", "x".repeat(43))).unwrap();
        let hubs = vec!["http://hub.lan:8053".to_owned()];
        Self {
            invitation: Invitation::new(hubs, None, key).unwrap(),
            redeemed: Cell::new(0),
            pending: RefCell::default(),
            tokens: RefCell::default(),
            redemption: Cell::new(Fate::Answered),
            confirmation: Cell::new(Fate::Answered),
            is_purged: Cell::new(false),
            grants: RefCell::new(vec!["nas".to_owned()]),
        }
    }

    fn only_token(&self) -> Credential {
        match &self.tokens.borrow()[..] {
            [token] => token.clone(),
            tokens => panic!("{tokens:?}"),
        }
    }
}

impl Inviter for FakeHub {
    async fn redeem(&self, request: &RedeemRequest) -> Result<Redeemed, JoinError> {
        let fate = self.redemption.replace(Fate::Answered);
        if fate == Fate::Undelivered {
            return Err(lost());
        }
        if !self.tokens.borrow().is_empty() {
            return Err(JoinError::Ended("used".to_owned()));
        }
        self.redeemed.set(self.redeemed.get() + 1);
        let token = TokenId::parse(&format!("token{:05}", self.redeemed.get())).unwrap();
        let own = EphemeralKey::generate().unwrap();
        let public_key = own.public();
        let client: PublicKey = request.public_key.parse().unwrap();
        let exchange = Exchange {
            key: &SigningKey::of(self.invitation.key()),
            id: self.invitation.key().id(),
            token,
            client,
            hub: public_key,
        };
        let credential = exchange.credential(&own.agree(&client).unwrap());
        *self.pending.borrow_mut() = Some(credential);
        if fate == Fate::Lost {
            return Err(lost());
        }
        Ok(Redeemed {
            token_id: token.to_string(),
            public_key: public_key.to_string(),
            role: "write".to_owned(),
            silos: vec!["home".to_owned()],
            hostnames: Some(self.grants.borrow().clone()),
        })
    }

    async fn confirm(&self, request: &ConfirmRequest) -> Result<Confirmed, JoinError> {
        let fate = self.confirmation.replace(Fate::Answered);
        if fate == Fate::Undelivered {
            return Err(lost());
        }
        if self.is_purged.get() {
            return Err(JoinError::Unknown("http://hub.lan:8053".to_owned()));
        }
        let proof: Proof = request.proof.parse().unwrap();
        let is_of = |token: &Credential| {
            token.id().as_str() == request.token_id && proof.is_of(&SigningKey::of(token))
        };
        let is_known = self.tokens.borrow().iter().any(is_of);
        if !is_known {
            let pending = self.pending.borrow_mut().take_if(|pending| is_of(pending));
            let pending = pending.ok_or_else(|| JoinError::Ended("replaced".to_owned()))?;
            self.tokens.borrow_mut().push(pending);
        }
        if fate == Fate::Lost {
            return Err(lost());
        }
        Ok(Confirmed {
            token_id: request.token_id.clone(),
            expires_at: None,
        })
    }

    async fn knows(&self, credential: &Credential) -> Result<bool, JoinError> {
        Ok(self.tokens.borrow().contains(credential))
    }
}

#[derive(Default)]
struct FakeMachine {
    runs: usize,
    schedules: usize,
    said: Vec<String>,
}

impl Local for FakeMachine {
    fn run_once(&mut self) -> Result<(), JoinError> {
        self.runs += 1;
        Ok(())
    }

    fn schedule(&mut self) -> Result<(), JoinError> {
        self.schedules += 1;
        Ok(())
    }

    fn tell(&mut self, words: String) {
        self.said.push(words);
    }
}

fn terms() -> Terms {
    Terms {
        silos: vec![SiloId::parse("home").unwrap()],
        hostnames: vec![Hostname::parse("nas").unwrap()],
    }
}

/// One run of `join`, which is killed after so many steps; the steps that it took.
async fn run(
    hub: &FakeHub,
    machine: &mut FakeMachine,
    places: &Places,
    steps: usize,
) -> Result<Vec<Step>, JoinError> {
    let agent = Agent::Upstream;
    let mut joining = match places.pending(agent)? {
        Some(pending) => Joining::resume(hub, machine, places, agent, pending),
        None => {
            let offered = (hub.invitation.clone(), terms());
            Joining::begin(hub, machine, places, agent, offered)
        }
    };
    let mut taken = Vec::new();
    while taken.len() < steps {
        match joining.step().await? {
            Some(step) => taken.push(step),
            None => break,
        }
    }
    Ok(taken)
}

const ALL: [Step; 9] = [
    Step::Redeem,
    Step::Keep,
    Step::Confirm,
    Step::Token,
    Step::Mark,
    Step::Configuration,
    Step::Run,
    Step::Schedule,
    Step::Finish,
];

/// Everything is there, and belongs to the only token of the hub.
fn assert_joined(hub: &FakeHub, places: &Places, machine: &FakeMachine, why: &str) {
    let token = hub.only_token();
    assert_eq!(
        places.credential().unwrap(),
        Some(Ok(token.clone())),
        "{why}"
    );
    let mark = places.mark().unwrap().unwrap();
    assert_eq!(mark.token(), Some(token.id()), "{why}");
    assert!(mark.is_of(&hub.invitation) && mark.made_folder, "{why}");
    let configuration = places.configuration().unwrap().unwrap();
    assert!(mark.wrote(&configuration), "{why}");
    let text = terms().configuration(Agent::Upstream, &hub.invitation, &places.token);
    assert_eq!(configuration, text.as_bytes(), "{why}");
    assert!(machine.runs >= 1 && machine.schedules >= 1, "{why}");
    let names = fs::read_dir(places.folder()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["up.joined", "up.token", "up.yaml"], "{why}");
    #[cfg(unix)]
    for (path, mode) in [(&places.token, 0o600), (&places.config, 0o644)] {
        use std::os::unix::fs::PermissionsExt;
        let found = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{why}: {}", path.display());
    }
}

fn places(folder: &Path) -> Places {
    Places::of(&folder.join("silo/up.yaml"))
}

#[tokio::test]
async fn a_join_that_is_killed_after_any_step_is_finished_by_the_next_run() {
    for killed_after in 0..=ALL.len() {
        for killed_again_after in 0..=ALL.len() {
            let folder = tempfile::tempdir().unwrap();
            let places = places(folder.path());
            let (hub, mut machine) = (FakeHub::new(), FakeMachine::default());
            let why = format!("after {killed_after} steps, then {killed_again_after}");
            let taken = run(&hub, &mut machine, &places, killed_after)
                .await
                .unwrap();
            assert_eq!(taken, ALL[..killed_after], "{why}");
            if killed_after < ALL.len() {
                let again = run(&hub, &mut machine, &places, killed_again_after).await;
                let again = again.unwrap();
                // As soon as `join.pending` is there, nothing is redeemed again.
                let begins = if killed_after < 2 { 0 } else { 2 };
                let ends = ALL.len().min(begins + killed_again_after);
                assert_eq!(again, ALL[begins..ends], "{why}");
                if ends < ALL.len() {
                    run(&hub, &mut machine, &places, usize::MAX).await.unwrap();
                }
            }
            assert_joined(&hub, &places, &machine, &why);
        }
    }
}

#[tokio::test]
async fn a_lost_request_or_answer_makes_no_second_token() {
    use Fate::{Lost, Undelivered};
    for (redemption, confirmation, left) in [
        (Some(Lost), None, false),
        (Some(Undelivered), None, false),
        (None, Some(Lost), true),
        (None, Some(Undelivered), true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let (hub, mut machine) = (FakeHub::new(), FakeMachine::default());
        hub.redemption.set(redemption.unwrap_or(Fate::Answered));
        hub.confirmation.set(confirmation.unwrap_or(Fate::Answered));
        let why = format!("{redemption:?} {confirmation:?}");
        let error = run(&hub, &mut machine, &places, usize::MAX).await;
        assert!(matches!(error, Err(JoinError::Usage(_))), "{why}");
        assert_eq!(places.pending.exists(), left, "{why}");
        assert!(!places.token.exists() && !places.config.exists(), "{why}");
        run(&hub, &mut machine, &places, usize::MAX).await.unwrap();
        assert_joined(&hub, &places, &machine, &why);
    }
}

#[tokio::test]
async fn what_another_machine_redeemed_is_discarded_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (
        places(&folder.path().join("a")),
        places(&folder.path().join("b")),
    );
    let (hub, mut machine) = (FakeHub::new(), FakeMachine::default());
    run(&hub, &mut machine, &first, 2).await.unwrap();
    run(&hub, &mut machine, &second, usize::MAX).await.unwrap();
    assert_joined(&hub, &second, &machine, "the later one");
    let error = run(&hub, &mut machine, &first, usize::MAX)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, JoinError::Ended(why) if why == "replaced"),
        "{error}"
    );
    assert_eq!(fs::read_dir(first.folder()).unwrap().count(), 0);
    hub.only_token();
}

#[tokio::test]
async fn a_token_that_was_confirmed_is_kept_when_the_hub_has_forgotten_the_invitation() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    let (hub, mut machine) = (FakeHub::new(), FakeMachine::default());
    run(&hub, &mut machine, &places, 3).await.unwrap();
    hub.is_purged.set(true);
    run(&hub, &mut machine, &places, usize::MAX).await.unwrap();
    assert_joined(&hub, &places, &machine, "purged");

    // A hub that knows neither says nothing that is signed: what may be needed is kept.
    let folder = tempfile::tempdir().unwrap();
    let places = self::places(folder.path());
    let hub = FakeHub::new();
    run(&hub, &mut machine, &places, 2).await.unwrap();
    hub.is_purged.set(true);
    let error = run(&hub, &mut machine, &places, usize::MAX)
        .await
        .unwrap_err();
    assert!(matches!(error, JoinError::Unknown(_)), "{error}");
    assert!(places.pending.exists() && !places.token.exists());
}

#[tokio::test]
async fn a_grant_that_changes_between_two_answers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    let (hub, mut machine) = (FakeHub::new(), FakeMachine::default());
    hub.grants.borrow_mut()[0] = "other".to_owned();
    let error = run(&hub, &mut machine, &places, usize::MAX)
        .await
        .unwrap_err();
    assert!(matches!(error, JoinError::NotUnderstood(_)), "{error}");
    assert!(!places.folder().exists());
}

#[tokio::test]
async fn the_pending_join_is_private_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    let (hub, mut machine) = (FakeHub::new(), FakeMachine::default());
    run(&hub, &mut machine, &places, 2).await.unwrap();
    let pending = places.pending(Agent::Upstream).unwrap().unwrap();
    let shown = format!("{pending:?}");
    for credential in [&pending.credential, pending.invitation.key()] {
        let secret = &credential.expose()[16..];
        assert!(!shown.contains(secret), "{shown}");
        assert!(!machine.said.concat().contains(secret));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&places.pending).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // One of the other agent, or of another version, is not mistaken.
    let error = places.pending(Agent::Downstream).unwrap_err();
    assert!(matches!(error, JoinError::Malformed(_)), "{error}");
    let text = fs::read_to_string(&places.pending).unwrap();
    fs::write(
        &places.pending,
        text.replace("\"version\":1", "\"version\":2"),
    )
    .unwrap();
    assert!(places.pending(Agent::Upstream).is_err());
}
