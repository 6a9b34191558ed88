//! The pages with lists, as they are: agents, deliveries, audit, tokens, history.

use std::collections::HashMap;
use std::net::IpAddr;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};

use super::golden::{NOW, assert_golden, chrome};
use super::{agents, audit, changes, deliveries, tokens};
use crate::dashboard::agent_list::Totals;
use crate::dashboard::when::When;
use crate::domain::agents::{Agent, AgentKey, AgentKind, AgentName, AgentState, AgentVersion};
use crate::domain::revision::Revision;
use crate::domain::token::{Role, Token, TokenSpec};
use crate::domain::token_change::{TokenChange, TokenProperties};
use crate::http::deliveries::{Document, Name};
use crate::store::{AgentOfSilo, AuditPart, AuditRow, DeliveryState, IdCursor, Missed};

const IPV4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn ip(text: &str) -> Option<IpAddr> {
    (!text.is_empty()).then(|| text.parse().unwrap())
}

fn office() -> SiloId {
    SiloId::parse("office").unwrap()
}

/// A token of this role, made a day ago.
pub(super) fn token(id: &str, name: &str, role: Role) -> Token {
    let has_limits = matches!(role, Role::Read | Role::Write);
    Token {
        id: TokenId::parse(id).unwrap(),
        spec: TokenSpec {
            name: name.to_owned(),
            role,
            silos: if has_limits {
                vec!["office".to_owned(), "lab-*".to_owned()]
            } else {
                Vec::new()
            },
            hostnames: None,
            expires_at: None,
        },
        created_at: NOW.plus_seconds(-86_400),
        revoked_at: None,
        last_used_at: None,
    }
}

fn agent(name: &str, kind: AgentKind, applied: Option<i64>, address: IpAddr) -> AgentOfSilo {
    AgentOfSilo {
        agent: Agent {
            key: AgentKey {
                silo: office(),
                name: AgentName::parse(name).unwrap(),
                token: TokenId::parse("abcdefgh12").unwrap(),
            },
            kind: Some(kind),
            version: AgentVersion::parse("0.2.0"),
            applied: applied.map(Revision::from),
            last_seen: NOW.plus_seconds(-90),
            address,
        },
        revision: Revision::from(41),
        changed_at: NOW.plus_seconds(-600),
    }
}

fn agents_page(is_admin: bool) -> agents::AgentsPage {
    agents::AgentsPage {
        chrome: chrome("Agents", is_admin),
        silo: String::new(),
        silo_error: None,
        name: String::new(),
        state: None,
        totals: Totals {
            current: 1,
            behind: 1,
            silent: 1,
        },
        rows: Vec::new(),
        is_admin,
        is_first: true,
        next: None,
    }
}

#[test]
fn agents_are_listed_with_what_they_have_applied() {
    let missed = Missed {
        changes: 2,
        has_more: false,
        since: Some(NOW.plus_seconds(-1200)),
    };
    let rows = |silent: &str| {
        let downstream = AgentKind::Downstream;
        let (behind, silent) = (agent("<b>laptop</b>", downstream, Some(39), IPV4), {
            agent("tv", downstream, None, silent.parse().unwrap())
        });
        let upstream = agent("nas", AgentKind::Upstream, None, IPV4);
        vec![
            agents::Row::of(AgentState::Behind, behind, Some(missed), NOW),
            agents::Row::of(AgentState::Silent, silent, None, NOW),
            agents::Row::of(AgentState::Current, upstream, None, NOW),
        ]
    };
    let page = agents::AgentsPage {
        rows: rows("2001:db8:1234:5678:9abc:def0:1234:5678"),
        next: Some("next-page".to_owned()),
        ..agents_page(true)
    };
    assert_golden("agents.html", &page);
    let page = agents::AgentsPage {
        rows: rows("192.0.2.9"),
        is_first: false,
        ..agents_page(false)
    };
    assert_golden("agents_reader.html", &page);
}

#[test]
fn a_list_without_agents_says_what_to_do_next() {
    assert_golden("agents_none.html", &agents_page(true));
    let refused = agents::AgentsPage {
        silo: "<b>no silo</b>".to_owned(),
        silo_error: Some("a silo's id has no blanks".to_owned()),
        ..agents_page(false)
    };
    assert_golden("agents_refused.html", &refused);
}

fn delivery(state: DeliveryState, why: Option<&str>, names: &[(&str, Option<&str>)]) -> Document {
    let is_done = state == DeliveryState::Done;
    Document {
        id: 7,
        sink: "dns".to_owned(),
        event: "change".to_owned(),
        silo: office(),
        revision: Revision::from(41),
        at: NOW.plus_seconds(-300),
        state: state.as_str(),
        done_at: is_done.then(|| NOW.plus_seconds(-60)),
        attempts: 3,
        failing_since: why.map(|_| NOW.plus_seconds(-240)),
        why: why.map(str::to_owned),
        next_try: why.map(|_| NOW.plus_seconds(120)),
        hostnames: names
            .iter()
            .map(|(hostname, why)| Name {
                hostname: Hostname::parse(hostname).unwrap(),
                state: state.as_str(),
                attempts: 3,
                failing_since: None,
                why: why.map(str::to_owned),
                next_try: None,
            })
            .collect(),
    }
}

fn deliveries_page() -> deliveries::DeliveriesPage {
    deliveries::DeliveriesPage {
        chrome: chrome("Deliveries", true),
        state: None,
        sink: String::new(),
        sinks: vec!["dns".to_owned(), "hook".to_owned()],
        failed: 1,
        pending: 2,
        rows: Vec::new(),
        is_first: true,
        next: None,
    }
}

#[test]
fn deliveries_are_listed_with_their_reasons() {
    let names: Vec<String> = (0..23).map(|number| format!("host-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
    let refused = Some("the server answers <b>REFUSED</b>");
    let rows = [
        delivery(DeliveryState::Failed, refused, &[("db", Some("NOTAUTH"))]),
        delivery(DeliveryState::Pending, Some("timed out"), &many),
        delivery(DeliveryState::Pending, None, &[("nas", None)]),
        delivery(DeliveryState::Done, refused, &[("tv", None)]),
    ];
    let page = deliveries::DeliveriesPage {
        rows: rows
            .into_iter()
            .map(|row| deliveries::Row::of(row, NOW))
            .collect(),
        sink: "dns".to_owned(),
        next: Some("next-page".to_owned()),
        ..deliveries_page()
    };
    assert_golden("deliveries.html", &page);
}

#[test]
fn a_list_without_deliveries_says_why() {
    assert_golden("deliveries_none.html", &deliveries_page());
    let filtered = deliveries::DeliveriesPage {
        state: Some(DeliveryState::Failed),
        ..deliveries_page()
    };
    assert_golden("deliveries_not_found.html", &filtered);
    let without_sinks = deliveries::DeliveriesPage {
        sinks: Vec::new(),
        ..deliveries_page()
    };
    assert_golden("deliveries_no_sinks.html", &without_sinks);
}

fn audit_page(part: AuditPart, rows: Vec<AuditRow>) -> audit::AuditPage {
    let names = HashMap::from([
        ("abcdefgh12".to_owned(), "first admin".to_owned()),
        ("bbbbbbbb12".to_owned(), format!("<b>{}", "n".repeat(97))),
    ]);
    audit::AuditPage {
        chrome: chrome("Audit", true),
        part,
        rows: rows
            .into_iter()
            .map(|row| audit::Row::of(row, &names, NOW))
            .collect(),
        is_first: true,
        next: None,
    }
}

#[test]
fn the_audit_log_names_tokens_and_what_was_changed() {
    let before = TokenProperties {
        name: "nas".to_owned(),
        role: "write".to_owned(),
        silos: vec!["office".to_owned()],
        hostnames: None,
        expires_at: None,
    };
    let after = TokenProperties {
        hostnames: Some(vec!["nas".to_owned(), "<b>files".to_owned()]),
        ..before.clone()
    };
    let change = |before, after| {
        Some(TokenChange {
            before,
            after: Some(after),
        })
    };
    let row = |event: &str, token: &str, change| AuditRow {
        id: 9,
        at: NOW.plus_seconds(-60),
        event: event.to_owned(),
        token: Some(token.to_owned()),
        by: Some("abcdefgh12".to_owned()),
        via: Some("rest".to_owned()),
        client_ip: Some(IPV4),
        times: 1,
        change,
        invitation: None,
        other_ip: None,
    };
    let rows = vec![
        AuditRow {
            token: None,
            client_ip: ip("2001:db8:1234:5678::"),
            invitation: Some("dddddddd12".to_owned()),
            other_ip: Some(IPV4),
            ..row("replaced", "", None)
        },
        AuditRow {
            invitation: Some("dddddddd12".to_owned()),
            ..row("created", "eeeeeeee12", None)
        },
        row("changed", "bbbbbbbb12", change(Some(before.clone()), after)),
        row("created", "cccccccc12", change(None, before)),
        AuditRow {
            token: None,
            by: None,
            via: None,
            client_ip: ip("2001:db8:1234:5678::"),
            times: 12,
            ..row("refused", "", None)
        },
    ];
    let page = audit::AuditPage {
        next: Some(IdCursor(9)),
        ..audit_page(AuditPart::All, rows)
    };
    assert_golden("audit.html", &page);
    let none = audit_page(AuditPart::Refused, Vec::new());
    assert_golden("audit_none.html", &none);
}

#[test]
fn tokens_are_listed_with_their_rights() {
    let own = token("abcdefgh12", "first admin", Role::Admin);
    let mut limited = token("bbbbbbbb12", "<b>nas</b>", Role::Write);
    limited.spec.hostnames = Some(vec!["nas".to_owned(), "files-*".to_owned()]);
    limited.last_used_at = Some(NOW.plus_seconds(-3600));
    limited.spec.expires_at = Some(NOW.plus_seconds(-60));
    let metrics = token("cccccccc12", "monitoring", Role::Metrics);
    let page = tokens::TokensPage {
        chrome: chrome("Tokens", true),
        rows: [&own, &limited, &metrics]
            .map(|token| tokens::Facts::of(token, &own, NOW))
            .into(),
        invitations: [(Role::Write, Some("192.0.2.9")), (Role::Read, None)]
            .map(|(role, ip)| tokens::OpenInvitation {
                id: "dddddddd12".to_owned(),
                name: "<b>laptop</b>".to_owned(),
                role,
                silos: vec!["office".to_owned()],
                hostnames: ip.map(|_| "laptop".to_owned()).into_iter().collect(),
                until: When::new(NOW.plus_seconds(3000), NOW),
                redeemed_by: ip.map(str::to_owned),
            })
            .into(),
        is_first: true,
        next: Some("cccccccc12".to_owned()),
    };
    assert_golden("tokens.html", &page);
}

/// A change of an address of `nas`.
pub(super) fn change(ago: i64, old: &str, new: &str, is_admin: bool) -> changes::Change {
    let (old, new) = (ip(old), ip(new));
    let is_v4 = old.or(new).is_some_and(|ip| ip.is_ipv4());
    changes::Change {
        at: When::new(NOW.plus_seconds(-ago), NOW),
        revision: (41 - ago).to_string(),
        hostname: Hostname::parse("nas").unwrap(),
        family: if is_v4 { 4 } else { 6 },
        old,
        new,
        way: "REST".to_owned(),
        token: is_admin.then(|| "<b>laptop</b>".to_owned()),
        client_ip: is_admin.then_some(IPV4),
        ends_revision: ago != 1,
    }
}

fn history_page(is_admin: bool, rows: Vec<changes::Change>) -> changes::HistoryPage {
    changes::HistoryPage {
        chrome: chrome("History of office", is_admin),
        id: office(),
        hostname: String::new(),
        hostname_error: None,
        token: String::new(),
        is_admin,
        may_revert: is_admin,
        rows,
        next: None,
        is_first: true,
    }
}

#[test]
fn changes_are_listed_with_the_way_to_the_state_before() {
    let rows = |is_admin| {
        vec![
            change(0, "10.0.0.5", "10.0.0.6", is_admin),
            change(1, "fd00::5", "", is_admin),
            change(2, "", "fd00::5", is_admin),
        ]
    };
    let page = changes::HistoryPage {
        next: Some("next-page".to_owned()),
        ..history_page(true, rows(true))
    };
    assert_golden("history.html", &page);
    let page = changes::HistoryPage {
        is_first: false,
        ..history_page(false, rows(false))
    };
    assert_golden("history_reader.html", &page);
}

#[test]
fn a_history_without_changes_says_why() {
    assert_golden("history_none.html", &history_page(true, Vec::new()));
    let page = changes::HistoryPage {
        hostname: "<b>x</b>".to_owned(),
        hostname_error: Some("not a hostname".to_owned()),
        token: "nas".to_owned(),
        ..history_page(true, Vec::new())
    };
    assert_golden("history_not_found.html", &page);
    let page = changes::HistoryPage {
        hostname: "nas".to_owned(),
        next: Some("next-page".to_owned()),
        ..history_page(false, Vec::new())
    };
    assert_golden("history_not_found_yet.html", &page);
}
