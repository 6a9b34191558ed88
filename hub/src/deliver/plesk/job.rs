//! What the hub asks of the worker, and what it hears back: two small JSON files.
//!
//! A job lies at `SPOOL/jobs/<id>.job`, its result at `SPOOL/results/<id>.result`. The id is made of the
//! name, so that a name has one job, and a newer one replaces an older one. The nonce tells the result of
//! this job from the result of an earlier one.

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

/// The most bytes that a job or a result may have.
pub const MAX_BYTES: u64 = 4096;
/// How a job's file ends.
const JOB: &str = ".job";
/// How a result's file ends.
const RESULT: &str = ".result";
/// The most addresses that a task may take away: what was published, and what may have been sent since.
pub const MAX_PUBLISHED: usize = 4;
/// The form of both files.
const VERSION: u32 = 1;
/// The longest words of a result, in characters.
const MAX_WORDS: usize = 400;

/// Which name a job is for: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(String);

impl JobId {
    /// The id of a name.
    pub fn of(zone_name: &ZoneName) -> Self {
        let text = format!("{}\n{}", zone_name.zone(), zone_name.name());
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        Self(hex(&hash.as_ref()[..16]))
    }

    /// Of a job's file name.
    pub fn of_job_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(JOB)?)
    }

    /// Of a result's file name.
    pub fn of_result_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(RESULT)?)
    }

    /// Parses 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        is_hex_of_16_bytes(text).then(|| Self(text.to_owned()))
    }

    /// What the job's file is called.
    pub fn job_file(&self) -> String {
        format!("{}{JOB}", self.0)
    }

    /// What the result's file is called.
    pub fn result_file(&self) -> String {
        format!("{}{RESULT}", self.0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells one job from the next one of the same name: 128 random bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system gives no random bytes")]
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

/// What the hub wants of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Which name.
    pub zone_name: ZoneName,
    /// What shall stand there. A family that is missing is taken away only where it is ours.
    pub wanted: Addresses,
    /// What else the hub may have published there, and may therefore be taken away: sorted, at most
    /// [`MAX_PUBLISHED`].
    pub published: Vec<IpAddr>,
}

/// A task, handed over once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What to do.
    pub task: Task,
    /// Which handing over it is.
    pub nonce: Nonce,
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Plesk holds what was wanted.
    Done,
    /// A later try may succeed; the trouble is of this name.
    RetryName,
    /// A later try may succeed; Plesk or the zone as a whole is in trouble.
    RetryZone,
    /// It needs somebody's hand; the trouble is of this name.
    FailedName,
    /// It needs somebody's hand; the whole zone is concerned.
    FailedZone,
}

/// What the worker says of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// Of which job.
    pub nonce: Nonce,
    /// How it ended.
    pub verdict: Verdict,
    /// In words; empty when all is well.
    pub why: String,
}

/// Why a file is no job or result.
#[derive(Debug, Error)]
pub enum InvalidFile {
    /// Larger than [`MAX_BYTES`].
    #[error("larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not the JSON that is expected.
    #[error("not a file of this form: {0}")]
    Form(serde_json::Error),
    /// Of a form that this program does not know.
    #[error("version {0} is not known here: hub and worker must be of one version")]
    Version(u32),
    /// The nonce is none.
    #[error("nonce: not 32 hexadecimal digits")]
    Nonce,
    /// Zone or label is wrong.
    #[error(transparent)]
    ZoneName(#[from] InvalidZoneName),
    /// An address is wrong.
    #[error("{member}: {why}")]
    Address {
        /// In which list.
        member: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The file's name is that of another name's job.
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

    /// Parses a job's file; everything in it must be in its stored form.
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

/// A short text that can stand in a log line: printable ASCII, all else becomes blanks.
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

/// Addresses as the files hold them.
pub(super) fn texts(ips: impl Iterator<Item = IpAddr>) -> Vec<String> {
    ips.map(|ip| ip.to_string()).collect()
}

/// Parses at most one address a family, in its stored form.
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

/// Parses at most [`MAX_PUBLISHED`] addresses in their stored form.
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

/// Parses an address that is in its stored form.
pub(super) fn stored_address(text: &str) -> Result<IpAddr, String> {
    let ip = parse_address(text).map_err(|error| error.to_string())?;
    match ip.to_string() == text {
        true => Ok(ip),
        false => Err("an address is not in its stored form".to_owned()),
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
