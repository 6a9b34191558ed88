//! Converts the data of other programs to an export, which is then imported as usual.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};
use silo_shared::silo::{Addresses, Hostname, SiloId, parse_address};
use thiserror::Error;

use super::check::MAX_AHEAD;
use super::line::{Counts, FORMAT, Header, Line, VERSION};
use crate::domain::change::{Attributes, address_changes};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{
    DynahostDatabase, HistoryRow, PyddnsSilo, SiloHead, StoredRecord, TransferredRow,
    TransferredSilo, Via,
};

/// Why another program's data can't be converted; nothing was imported.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}: {wrong}")]
pub struct ForeignError {
    /// The member or row.
    pub place: String,
    /// The error.
    pub wrong: String,
}

/// The converted data.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// An export of this program, without rights.
    pub export: Vec<u8>,
    /// The records in it.
    pub records: Vec<(SiloId, Hostname)>,
}

fn wrong(place: impl Into<String>, wrong: impl ToString) -> ForeignError {
    let fit = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    ForeignError {
        place: place.into(),
        wrong: wrong.to_string().chars().take(300).map(fit).collect(),
    }
}

/// Converts pyDDNS's response to `GET /silos` (a list) or `GET /silos/{id}` (one silo), or several
/// of them in sequence. pyDDNS separates the silos of a list with a full stop, which is invalid
/// JSON; both forms are accepted.
pub fn of_pyddns(answer: &[u8], now: Time) -> Result<Taken, ForeignError> {
    let text = std::str::from_utf8(answer)
        .map_err(|error| wrong("the file", error))?
        .trim_start_matches('\u{feff}');
    let text = with_commas(text);
    let mut silos = BTreeMap::new();
    let mut answers = 0;
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        answers += 1;
        match value.map_err(|error| wrong("the file is not JSON", error))? {
            Value::Array(list) => {
                for (at, silo) in list.iter().enumerate() {
                    add_silo(&mut silos, &format!("[{at}]"), silo)?;
                }
            }
            silo => add_silo(&mut silos, "the silo", &silo)?,
        }
    }
    if answers == 0 {
        return Err(wrong("the file", "is empty"));
    }
    Ok(taken_silos(silos, now))
}

/// Takes over the silos of pyDDNS's database.
pub fn of_pyddns_database(database: &[PyddnsSilo], now: Time) -> Result<Taken, ForeignError> {
    let mut silos = BTreeMap::new();
    for PyddnsSilo { id, records } in database {
        let records: Vec<Value> = records
            .iter()
            .map(|(hostname, ip)| json!({"hostname": hostname, "ip": ip}))
            .collect();
        let silo = json!({"id": id, "dnsrecords": records});
        add_silo(&mut silos, &format!("silo {id:?}"), &silo)?;
    }
    Ok(taken_silos(silos, now))
}

fn taken_silos(silos: BTreeMap<SiloId, BTreeMap<Hostname, Addresses>>, now: Time) -> Taken {
    let mut taken = Taken::default();
    let mut lines = Vec::new();
    let revisions = std::iter::successors(Some(Revision::at(now)), |last| Some(last.next()));
    for (revision, (id, records)) in revisions.zip(silos) {
        let names = records
            .keys()
            .map(|hostname| (id.clone(), hostname.clone()));
        taken.records.extend(names);
        lines.push(silo_line(id, records, revision, now));
    }
    taken.export = export(lines, Vec::new());
    taken
}

/// Replaces the full stops in pyDDNS's list with commas.
fn with_commas(text: &str) -> String {
    let (mut is_string, mut is_escaped, mut last) = (false, false, ' ');
    text.chars()
        .map(|c| {
            let is_stop = c == '.' && !is_string && last == '}';
            match c {
                '"' if !is_escaped => is_string = !is_string,
                _ => {}
            }
            is_escaped = is_string && c == '\\' && !is_escaped;
            if !c.is_whitespace() {
                last = c;
            }
            if is_stop { ',' } else { c }
        })
        .collect()
}

fn add_silo(
    silos: &mut BTreeMap<SiloId, BTreeMap<Hostname, Addresses>>,
    place: &str,
    silo: &Value,
) -> Result<(), ForeignError> {
    let id = SiloId::parse(text_of(silo, place, "id")?)
        .map_err(|error| wrong(format!("{place}.id"), error))?;
    let place = id.to_string();
    let list = silo.get("dnsrecords").and_then(Value::as_array);
    let list =
        list.ok_or_else(|| wrong(format!("{place}.dnsrecords"), "is not a list of records"))?;
    let mut records = BTreeMap::new();
    for (at, record) in list.iter().enumerate() {
        let place = format!("{place}.dnsrecords[{at}]");
        let named = |member: &str, error: &dyn std::fmt::Display, text: &str| {
            wrong(format!("{place}.{member}"), format!("{text:?}: {error}"))
        };
        let text = text_of(record, &place, "hostname")?;
        let hostname = Hostname::parse(text).map_err(|error| named("hostname", &error, text))?;
        let text = text_of(record, &place, "ip")?;
        let ip = parse_address(text).map_err(|error| named("ip", &error, text))?;
        let addresses: &mut Addresses = records.entry(hostname).or_default();
        if addresses.set(ip).is_some() {
            return Err(wrong(place, "this hostname has another address already"));
        }
    }
    match silos.insert(id, records) {
        None => Ok(()),
        Some(_) => Err(wrong(place, "duplicate silo")),
    }
}

fn text_of<'a>(value: &'a Value, place: &str, member: &str) -> Result<&'a str, ForeignError> {
    let text = value.get(member).and_then(Value::as_str);
    text.ok_or_else(|| wrong(format!("{place}.{member}"), "is missing or not a string"))
}

/// Converts dynahost's hosts with their history to a silo. A host has one address in dynahost: an
/// IPv6 address replaces an IPv4 address, and vice versa. Creates no bindings.
pub fn of_dynahost(
    database: &DynahostDatabase,
    silo: &SiloId,
    now: Time,
) -> Result<Taken, ForeignError> {
    let mut names = BTreeMap::new();
    let mut hosts: BTreeMap<Hostname, Addresses> = BTreeMap::new();
    for host in &database.hosts {
        let place = format!("row {} of hosts", host.id);
        let hostname = Hostname::parse(&host.host)
            .map_err(|error| wrong(&place, format!("{:?}: {error}", host.host)))?;
        if hosts
            .insert(hostname.clone(), Addresses::default())
            .is_some()
        {
            return Err(wrong(place, format!("duplicate hostname {hostname}")));
        }
        names.insert(host.id, hostname);
    }
    let mut history = History {
        silo,
        hosts,
        rows: Vec::new(),
        revision: Revision::NONE,
        at: Time::default(),
    };
    for change in &database.log {
        let place = format!("row {} of log", change.id);
        let hostname = names
            .get(&change.host_id)
            .ok_or_else(|| wrong(&place, format!("no host {}", change.host_id)))?;
        let ip = address(&place, &change.ip)?;
        let at = change
            .at
            .map(|seconds| Time::default().plus_seconds(seconds));
        let at = at
            .filter(|at| (Time::default()..=now.plus_seconds(MAX_AHEAD)).contains(at))
            .ok_or_else(|| wrong(&place, "mod_date is not a valid time, or is in the future"))?;
        history.set(hostname, ip, at);
    }
    for host in &database.hosts {
        // The last address in the log, unless dynahost was killed between its two writes.
        if let (Some(ip), Some(hostname)) = (&host.last_ip, names.get(&host.id)) {
            let ip = address(&format!("row {} of hosts", host.id), ip)?;
            let at = history.at;
            history.set(hostname, ip, at);
        }
    }
    let History {
        mut hosts,
        rows,
        revision,
        at,
        ..
    } = history;
    // A host that never had an address gives no record.
    hosts.retain(|_, addresses| !addresses.is_empty());
    let records = hosts.keys().map(|host| (silo.clone(), host.clone()));
    let records = records.collect();
    let line = silo_line(silo.clone(), hosts, revision.max(Revision::NONE.next()), at);
    Ok(Taken {
        export: export(vec![line], rows),
        records,
    })
}

fn address(place: &str, text: &str) -> Result<IpAddr, ForeignError> {
    parse_address(text).map_err(|error| wrong(place, format!("{text:?}: {error}")))
}

/// A history derived from another program's log, deterministically.
struct History<'a> {
    silo: &'a SiloId,
    hosts: BTreeMap<Hostname, Addresses>,
    rows: Vec<TransferredRow>,
    revision: Revision,
    at: Time,
}

impl History<'_> {
    fn set(&mut self, hostname: &Hostname, ip: IpAddr, at: Time) {
        let old = self.hosts.get(hostname).copied().unwrap_or_default();
        let mut new = Addresses::default();
        new.set(ip);
        if old == new {
            return;
        }
        // Revisions increase even if two rows have the same second.
        self.revision = self.revision.next().max(Revision::at(at));
        self.at = at;
        for change in address_changes(hostname, &old, &new) {
            self.rows.push(TransferredRow {
                silo: self.silo.clone(),
                row: HistoryRow {
                    at,
                    revision: self.revision,
                    hostname: change.hostname,
                    family: change.family.number().into(),
                    old: change.old,
                    new: change.new,
                    via: Via::Dynahost.as_str().to_owned(),
                    token: None,
                    client_ip: None,
                },
            });
        }
        self.hosts.insert(hostname.clone(), new);
    }
}

fn silo_line(
    id: SiloId,
    records: BTreeMap<Hostname, Addresses>,
    revision: Revision,
    at: Time,
) -> TransferredSilo {
    let record = |(hostname, addresses)| StoredRecord {
        hostname,
        addresses,
        attributes: Attributes::default(),
        revision,
        addresses_at: revision,
        updated_at: at,
        last_seen: at,
    };
    TransferredSilo {
        id,
        head: SiloHead {
            revision,
            updated_at: at,
            deleted: false,
        },
        records: records.into_iter().map(record).collect(),
    }
}

fn export(silos: Vec<TransferredSilo>, history: Vec<TransferredRow>) -> Vec<u8> {
    let counts = Counts {
        silos: silos.len() as u64,
        history: history.len() as u64,
        ..Counts::default()
    };
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        key: None,
    };
    let silos = silos.into_iter().map(|silo| Line::Silo(silo.into()));
    let history = history.into_iter().map(|row| Line::History(row.into()));
    let lines = silos.chain(history).chain([Line::End(counts)]);
    let mut output = to_line(&header);
    lines.for_each(|line| output.extend(to_line(&line)));
    output
}

fn to_line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("lines of an export are plain JSON");
    line.push(b'\n');
    line
}

/// Groups records by silo.
pub fn by_silo(records: Vec<(SiloId, Hostname)>) -> BTreeMap<SiloId, BTreeSet<Hostname>> {
    let mut silos: BTreeMap<SiloId, BTreeSet<Hostname>> = BTreeMap::new();
    for (silo, hostname) in records {
        silos.entry(silo).or_default().insert(hostname);
    }
    silos
}
