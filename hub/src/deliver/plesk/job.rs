//! Jobs for the worker and its results: two small JSON files.
//!
//! A job is at `SPOOL/jobs/<id>.job`, its result at `SPOOL/results/<id>.result`. The id is derived
//! from the name, so a name has one job, and a newer job replaces an older one. The nonce
//! distinguishes the result of this job from that of an earlier one.

use std::fmt;
use std::net::IpAddr;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use silo_shared::silo::{Addresses, parse_address};
use thiserror::Error;

use super::zone_name::{InvalidZoneName, ZoneName};
use crate::auth::secrets::hex;

/// Maximum size of a job or result, in bytes.
pub const MAX_BYTES: u64 = 4096;
/// File extension of a job.
const JOB: &str = ".job";
/// File extension of a result.
const RESULT: &str = ".result";
/// Maximum number of addresses that a task may remove: those published, and those possibly sent since.
pub const MAX_PUBLISHED: usize = 4;
/// Format version of both files.
const VERSION: u32 = 1;
/// Maximum length of a result's text, in characters.
const MAX_WORDS: usize = 400;

/// Identifies the name of a job: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(String);

impl JobId {
    /// The id of a name.
    pub fn of(zone_name: &ZoneName) -> Self {
        let text = format!("{}\n{}", zone_name.zone(), zone_name.name());
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        Self(hex(&hash.as_ref()[..16]))
    }

    /// From the file name of a job.
    pub fn of_job_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(JOB)?)
    }

    /// From the file name of a result.
    pub fn of_result_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(RESULT)?)
    }

    /// Parses 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex_of_16_bytes(text).then(|| Self(text.to_owned()))
    }

    /// The file name of the job.
    pub fn job_file(&self) -> String {
        format!("{}{JOB}", self.0)
    }

    /// The file name of the result.
    pub fn result_file(&self) -> String {
        format!("{}{RESULT}", self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Distinguishes one job from the next one of the same name: 128 random bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

/// The system returned no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system's random number generator failed")]
pub struct NoRandomness;

impl Nonce {
    /// A new one.
    pub fn new() -> Result<Self, NoRandomness> {
        let mut bytes = [0; 16];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| NoRandomness)?;
        Ok(Self(hex(&bytes)))
    }

    /// Parses 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex_of_16_bytes(text).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_hex_of_16_bytes(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What the hub wants for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The name.
    pub zone_name: ZoneName,
    /// The wanted addresses. Addresses of a missing family are removed only if they are ours.
    pub wanted: Addresses,
    /// Other addresses that the hub may have published there and that may be removed: sorted, at
    /// most [`MAX_PUBLISHED`].
    pub published: Vec<IpAddr>,
}

/// One submission of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The task.
    pub task: Task,
    /// Identifies the submission.
    pub nonce: Nonce,
}

/// The result of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Plesk holds the wanted addresses.
    Done,
    /// A retry may succeed; the problem affects this name.
    RetryName,
    /// A retry may succeed; the problem affects Plesk or the whole zone.
    RetryZone,
    /// Requires manual action; the problem affects this name.
    FailedName,
    /// Requires manual action; the problem affects the whole zone.
    FailedZone,
}

/// The worker's result for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// The nonce of the job.
    pub nonce: Nonce,
    /// The result.
    pub verdict: Verdict,
    /// The reason; empty on success.
    pub why: String,
}

/// Why a file is not a valid job or result.
#[derive(Debug, Error)]
pub enum InvalidFile {
    /// Larger than [`MAX_BYTES`].
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not the expected JSON.
    #[error("not a valid job file: {0}")]
    Form(serde_json::Error),
    /// An unknown format version.
    #[error("unknown version {0}: hub and worker must have the same version")]
    Version(u32),
    /// The nonce is invalid.
    #[error("nonce: not 32 hexadecimal digits")]
    Nonce,
    /// Zone or label is invalid.
    #[error(transparent)]
    ZoneName(#[from] InvalidZoneName),
    /// An address is invalid.
    #[error("{member}: {why}")]
    Address {
        /// The list that contains it.
        member: &'static str,
        /// Why it is invalid.
        why: String,
    },
    /// The file name belongs to another name.
    #[error("the file's name is not that of a job for {0}")]
    Misplaced(ZoneName),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobFile {
    version: u32,
    nonce: String,
    zone: String,
    label: String,
    wanted: Vec<String>,
    published: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultFile {
    version: u32,
    nonce: String,
    verdict: Verdict,
    why: String,
}

impl Job {
    /// The bytes of the job's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(&JobFile {
            version: VERSION,
            nonce: self.nonce.to_string(),
            zone: self.task.zone_name.zone().to_string(),
            label: self.task.zone_name.label().to_owned(),
            wanted: texts(self.task.wanted.iter()),
            published: texts(self.task.published.iter().copied()),
        })
    }

    /// Parses a job's file; all values must be in their stored form.
    pub fn parse(id: &JobId, bytes: &[u8]) -> Result<Self, InvalidFile> {
        let file: JobFile = from_bytes(bytes)?;
        check_version(file.version)?;
        let zone_name = ZoneName::parse(&file.zone, &file.label)?;
        if JobId::of(&zone_name) != *id {
            return Err(InvalidFile::Misplaced(zone_name));
        }
        Ok(Self {
            task: Task {
                zone_name,
                wanted: wanted(&file.wanted)?,
                published: published(&file.published)?,
            },
            nonce: Nonce::parse(&file.nonce).ok_or(InvalidFile::Nonce)?,
        })
    }
}

impl JobResult {
    /// The bytes of the result's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(&ResultFile {
            version: VERSION,
            nonce: self.nonce.to_string(),
            verdict: self.verdict,
            why: printable(&self.why),
        })
    }

    /// Parses a result's file.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidFile> {
        let file: ResultFile = from_bytes(bytes)?;
        check_version(file.version)?;
        Ok(Self {
            nonce: Nonce::parse(&file.nonce).ok_or(InvalidFile::Nonce)?,
            verdict: file.verdict,
            why: printable(&file.why),
        })
    }
}

/// Makes text safe for a log line: short, and anything but printable ASCII becomes a blank.
pub fn printable(text: &str) -> String {
    let mut words = String::new();
    for character in text.trim().chars().take(MAX_WORDS) {
        match character {
            ' '..='~' => words.push(character),
            _ if words.ends_with(' ') => {}
            _ => words.push(' '),
        }
    }
    words.trim().to_owned()
}

fn to_bytes(file: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(file).expect("texts and numbers become JSON");
    bytes.push(b'\n');
    bytes
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InvalidFile> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(InvalidFile::TooLarge);
    }
    serde_json::from_slice(bytes).map_err(InvalidFile::Form)
}

fn check_version(version: u32) -> Result<(), InvalidFile> {
    match version {
        VERSION => Ok(()),
        other => Err(InvalidFile::Version(other)),
    }
}

/// Addresses as written in the files.
pub(super) fn texts(ips: impl Iterator<Item = IpAddr>) -> Vec<String> {
    ips.map(|ip| ip.to_string()).collect()
}

/// Parses at most one address per family, in stored form.
fn wanted(texts: &[String]) -> Result<Addresses, InvalidFile> {
    let wrong = |why| InvalidFile::Address {
        member: "wanted",
        why,
    };
    let mut addresses = Addresses::default();
    for text in texts {
        let ip = stored_address(text).map_err(wrong)?;
        if addresses.set(ip).is_some() {
            return Err(wrong("more than one address of a family".to_owned()));
        }
    }
    Ok(addresses)
}

/// Parses at most [`MAX_PUBLISHED`] addresses in stored form.
fn published(texts: &[String]) -> Result<Vec<IpAddr>, InvalidFile> {
    let wrong = |why| InvalidFile::Address {
        member: "published",
        why,
    };
    if texts.len() > MAX_PUBLISHED {
        return Err(wrong(format!("more than {MAX_PUBLISHED} addresses")));
    }
    let ips = texts.iter().map(|text| stored_address(text).map_err(wrong));
    ips.collect()
}

/// Parses an address in stored form.
pub(super) fn stored_address(text: &str) -> Result<IpAddr, String> {
    let ip = parse_address(text).map_err(|error| error.to_string())?;
    if ip.to_string() == text {
        Ok(ip)
    } else {
        Err("an address is not in canonical form".to_owned())
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
