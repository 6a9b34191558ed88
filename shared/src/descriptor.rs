//! What a security descriptor of Windows says: who owns a file or folder, and what its access control list grants to
//! whom.
//!
//! The descriptor is read as text in the security descriptor definition language (SDDL, learn.microsoft.com: "Security
//! Descriptor String Format"), which does not depend on the language of Windows. Everything here is text in, text out,
//! and so is tested on every system; `windows` gets the text from Windows and gives it back.
//!
//! What is not understood counts as a grant of everything: a list that this program can't read protects nothing.

use std::fmt;

use crate::folders::Purpose;

/// SYSTEM, which runs the downstream agent.
pub(crate) const SYSTEM: &str = "S-1-5-18";
/// LOCAL SERVICE, which runs the upstream agent.
pub(crate) const LOCAL_SERVICE: &str = "S-1-5-19";
/// The group Administrators.
pub(crate) const ADMINISTRATORS: &str = "S-1-5-32-544";
/// The installer of Windows (TrustedInstaller), which owns `C:\Windows` and `C:\Program Files`.
const INSTALLER: &str = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
/// Who may change what SYSTEM uses.
const TRUSTED: [&str; 3] = [SYSTEM, ADMINISTRATORS, INSTALLER];
/// The owner, in words that name no account: owners are judged by themselves.
const OF_OWNER: [&str; 2] = ["S-1-3-0", "S-1-3-4"];

/// SDDL's abbreviations of the SIDs that appear on files ("SID Strings"), their SIDs, and their English names.
const ABBREVIATIONS: [(&str, &str, &str); 16] = [
    ("SY", SYSTEM, "SYSTEM"),
    ("LS", LOCAL_SERVICE, "LOCAL SERVICE"),
    ("NS", "S-1-5-20", "NETWORK SERVICE"),
    ("BA", ADMINISTRATORS, "Administrators"),
    ("BU", "S-1-5-32-545", "Users"),
    ("BG", "S-1-5-32-546", "Guests"),
    ("PU", "S-1-5-32-547", "Power Users"),
    ("WD", "S-1-1-0", "Everyone"),
    ("AU", "S-1-5-11", "Authenticated Users"),
    ("IU", "S-1-5-4", "INTERACTIVE"),
    ("NU", "S-1-5-2", "NETWORK"),
    ("SU", "S-1-5-6", "SERVICE"),
    ("AN", "S-1-5-7", "ANONYMOUS LOGON"),
    ("CO", OF_OWNER[0], "CREATOR OWNER"),
    ("OW", OF_OWNER[1], "OWNER RIGHTS"),
    ("AC", "S-1-15-2-1", "ALL APPLICATION PACKAGES"),
];

/// SDDL's abbreviations of rights ("ACE Strings") with their bits (winnt.h).
const RIGHTS: [(&str, u32); 25] = [
    ("GA", GENERIC_ALL),
    ("GR", GENERIC_READ),
    ("GW", GENERIC_WRITE),
    ("GX", 0x2000_0000),
    ("RC", 0x0002_0000),
    ("SD", DELETE),
    ("WD", WRITE_DAC),
    ("WO", WRITE_OWNER),
    ("CC", READ_DATA),
    ("DC", WRITE_DATA),
    ("LC", APPEND_DATA),
    ("SW", 0x0000_0008),
    ("RP", 0x0000_0010),
    ("WP", 0x0000_0020),
    ("DT", DELETE_CHILD),
    ("LO", 0x0000_0080),
    ("CR", WRITE_ATTRIBUTES),
    ("FA", FULL),
    ("FR", 0x0012_0089),
    ("FW", 0x0012_0116),
    ("FX", 0x0012_00a0),
    ("KA", 0x000f_003f),
    ("KR", 0x0002_0019),
    ("KW", 0x0002_0006),
    ("KX", 0x0002_0019),
];

const READ_DATA: u32 = 0x0000_0001;
/// Of a folder: adding files.
const WRITE_DATA: u32 = 0x0000_0002;
/// Of a folder: adding folders.
const APPEND_DATA: u32 = 0x0000_0004;
const DELETE_CHILD: u32 = 0x0000_0040;
/// Also makes an empty folder a junction.
const WRITE_ATTRIBUTES: u32 = 0x0000_0100;
const DELETE: u32 = 0x0001_0000;
const WRITE_DAC: u32 = 0x0004_0000;
const WRITE_OWNER: u32 = 0x0008_0000;
const GENERIC_ALL: u32 = 0x1000_0000;
const GENERIC_WRITE: u32 = 0x4000_0000;
const GENERIC_READ: u32 = 0x8000_0000;
const FULL: u32 = 0x001f_01ff;

/// What others must not be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read a file.
    Read,
    /// Change a file, or what is in a folder.
    Write,
    /// Move a folder, or what is in it, so that another one can be put in its place. Adding to it is harmless: anyone
    /// may add to `C:\ProgramData`.
    Replace,
    /// Move what is in the root of a disk, which can't be moved itself.
    ReplaceInRoot,
}

impl Access {
    fn mask(self) -> u32 {
        match self {
            Self::Read => READ_DATA | GENERIC_READ | GENERIC_ALL | WRITE_DAC | WRITE_OWNER,
            Self::ReplaceInRoot => DELETE_CHILD | WRITE_DAC | WRITE_OWNER | GENERIC_ALL,
            Self::Replace => Self::ReplaceInRoot.mask() | DELETE,
            Self::Write => {
                Self::Replace.mask() | WRITE_DATA | APPEND_DATA | WRITE_ATTRIBUTES | GENERIC_WRITE
            }
        }
    }
}

/// A user, a group or a service: a SID (`S-1-5-18`), or SDDL's abbreviation if its SID depends on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sid(String);

impl Sid {
    /// From a SID or an abbreviation. Anything is accepted: what no descriptor contains grants nothing.
    pub(crate) fn new(text: &str) -> Self {
        let known = ABBREVIATIONS.iter().find(|(short, ..)| *short == text);
        Self(known.map_or(text, |(_, sid, _)| *sid).to_owned())
    }

    /// As `icacls` takes it after a `*`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is an account of services, which no person signs in with.
    pub(crate) fn is_service(&self) -> bool {
        ["S-1-5-19", "S-1-5-20"].contains(&self.as_str()) || self.0.starts_with("S-1-5-80-")
    }

    /// Whether it is SYSTEM.
    pub(crate) fn is_system(&self) -> bool {
        self.0 == SYSTEM
    }
}

/// The English name, if it is known, with the SID.
impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ABBREVIATIONS.iter().find(|(_, sid, _)| *sid == self.0) {
            Some((_, sid, name)) => write!(f, "{name} ({sid})"),
            None => f.write_str(&self.0),
        }
    }
}

/// The owner and the access control list of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    owner: Sid,
    /// `None`: there is no list, and everyone may do everything.
    entries: Option<Vec<Entry>>,
}

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: String,
    /// Denied, for objects and with conditions too. What is denied to some may be granted to others.
    denies: bool,
    /// Only for what is made in this folder.
    is_inherited_only: bool,
    /// Whether files that are made in this folder get it.
    is_for_new_files: bool,
    mask: u32,
    who: Sid,
}

/// The text is no descriptor with an owner and a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its permissions can't be read")]
pub(crate) struct Unreadable;

/// Who is trusted beside SYSTEM, Administrators and the installer of Windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trusted {
    /// Users, groups or single services.
    pub(crate) users: Vec<Sid>,
    /// Whether all accounts of services are.
    pub(crate) services: bool,
}

impl Trusted {
    /// These users, and no services.
    pub(crate) fn users(users: impl IntoIterator<Item = Sid>) -> Self {
        Self {
            users: users.into_iter().collect(),
            services: false,
        }
    }
}

/// Who else has access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// The owner.
    Owner(Sid),
    /// A user or group in the list.
    Granted(Sid),
    /// There is no list.
    Everyone,
}

impl Descriptor {
    /// Reads a descriptor such as `O:BAG:SYD:PAI(A;;FA;;;SY)(A;;0x1200a9;;;BU)`.
    pub(crate) fn parse(sddl: &str) -> Result<Self, Unreadable> {
        let owner = part(sddl, "O:").filter(|owner| !owner.is_empty());
        let list = part(sddl, "D:").ok_or(Unreadable)?;
        Ok(Self {
            owner: Sid::new(owner.ok_or(Unreadable)?),
            entries: if list.contains("NO_ACCESS_CONTROL") {
                None
            } else {
                Some(entries(list)?)
            },
        })
    }

    /// Who, other than SYSTEM, Administrators, the installer of Windows and those in `trusted`, owns it (and so can
    /// change its list) or has access to it.
    pub(crate) fn open_to(&self, access: Access, trusted: &Trusted) -> Option<Other> {
        let is_trusted = |who: &Sid| {
            TRUSTED.contains(&who.as_str())
                || trusted.users.contains(who)
                || (trusted.services && who.is_service())
        };
        if !is_trusted(&self.owner) {
            return Some(Other::Owner(self.owner.clone()));
        }
        let Some(entries) = &self.entries else {
            return Some(Other::Everyone);
        };
        entries
            .iter()
            .filter(|entry| !entry.denies && !entry.is_inherited_only)
            .filter(|entry| entry.mask & access.mask() != 0)
            .map(|entry| &entry.who)
            // A service reads a secret only where an administrator let it.
            .filter(|who| !(access == Access::Read && who.is_service()))
            .find(|who| !is_trusted(who) && !OF_OWNER.contains(&who.as_str()))
            .map(|who| Other::Granted(who.clone()))
    }

    /// Whether it belongs to SYSTEM, Administrators or the installer of Windows.
    pub(crate) fn is_of_system(&self) -> bool {
        TRUSTED.contains(&self.owner.as_str())
    }

    /// Whether both grant the same to the same.
    pub(crate) fn grants_as(&self, other: &Self) -> bool {
        let grants = |one: &Self| {
            let entries = one.entries.as_ref()?;
            let key = |entry: &Entry| (entry.kind.clone(), entry.mask, entry.who.0.clone());
            let mut keys: Vec<_> = entries.iter().map(key).collect();
            keys.sort();
            Some(keys)
        };
        grants(self) == grants(other)
    }

    /// The list of a private file in the folder with this descriptor, as SDDL: for SYSTEM, Administrators, `user`, and
    /// each account of services to which the folder gives access to new files. It inherits nothing.
    pub(crate) fn private_file(&self, user: Option<&Sid>) -> String {
        let mut list = private_list("", user);
        for entry in self.entries.iter().flatten() {
            let is_grant = entry.is_for_new_files && !entry.denies;
            if is_grant && entry.who.is_service() && Some(&entry.who) != user {
                list += &format!("(A;;0x{:x};;;{})", entry.mask, entry.who.0);
            }
        }
        list
    }
}

/// Full access for SYSTEM, Administrators and `user`, as SDDL; `flags` are those of the entries: `OICI` for a folder,
/// whose files and folders get the same.
fn private_list(flags: &str, user: Option<&Sid>) -> String {
    let mut list = format!("D:P(A;{flags};FA;;;SY)(A;{flags};FA;;;BA)");
    if let Some(user) = user.filter(|user| !TRUSTED.contains(&user.as_str())) {
        list += &format!("(A;{flags};FA;;;{})", user.0);
    }
    list
}

/// The list of a folder that Silo makes, as SDDL, for the `user` who makes it.
pub(crate) fn folder_list(purpose: Purpose, user: Option<&Sid>) -> String {
    match purpose {
        // Read and execute, on this folder alone.
        Purpose::Top => private_list("OICI", None) + "(A;;0x1200a9;;;LS)",
        // Modify: all but the list and the owner.
        Purpose::Service => private_list("OICI", None) + "(A;OICI;0x1301bf;;;LS)",
        Purpose::Private => private_list("OICI", user),
    }
}

/// One part of a descriptor: what follows its tag, up to the next one outside of parentheses.
fn part<'a>(sddl: &'a str, tag: &str) -> Option<&'a str> {
    const TAGS: [&str; 4] = ["O:", "G:", "D:", "S:"];
    let mut start = None;
    let mut at = 0;
    while at < sddl.len() {
        if sddl[at..].starts_with('(') {
            // Unclosed: nothing follows.
            at = closing(&sddl[at..]).map_or(sddl.len(), |end| at + end + 1);
            continue;
        }
        let here = sddl.get(at..at + 2);
        if let Some(found) = here.and_then(|here| TAGS.iter().find(|tag| **tag == here)) {
            if let Some(start) = start {
                return sddl.get(start..at);
            }
            at += 2;
            if *found == tag {
                start = Some(at);
            }
            // An abbreviation may end with the letter of a tag.
            let rest = sddl.get(at..).unwrap_or_default();
            if matches!(*found, "O:" | "G:") && !rest.starts_with("S-") {
                at += rest.chars().take(2).map(char::len_utf8).sum::<usize>();
            }
            continue;
        }
        at += sddl[at..].chars().next().map_or(1, char::len_utf8);
    }
    start.and_then(|start| sddl.get(start..))
}

/// The entries of a list.
fn entries(list: &str) -> Result<Vec<Entry>, Unreadable> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some(start) = rest.find('(') {
        let end = closing(&rest[start..]).ok_or(Unreadable)? + start;
        found.push(entry(&rest[start + 1..end])?);
        rest = &rest[end + 1..];
    }
    Ok(found)
}

/// Where the first parenthesis closes. Conditions of an entry have parentheses of their own, and text in quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut is_quoted) = (0_u32, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'(' => depth += 1,
            b')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// An entry: type, flags, rights, two object types, SID, and perhaps a condition.
fn entry(text: &str) -> Result<Entry, Unreadable> {
    let fields: Vec<&str> = text.splitn(7, ';').collect();
    let [kind, flags, rights, _, _, who, ..] = fields[..] else {
        return Err(Unreadable);
    };
    let has = |flag: &str| pairs(flags).any(|found| found == flag);
    Ok(Entry {
        kind: kind.to_owned(),
        denies: matches!(kind, "D" | "OD" | "XD"),
        is_inherited_only: has("IO"),
        is_for_new_files: has("OI"),
        mask: mask(rights),
        who: Sid::new(who),
    })
}

/// Words of two letters.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    (0..text.len())
        .step_by(2)
        .map(|at| text.get(at..at + 2).unwrap_or("?"))
}

/// Rights, as a number (`0x1200a9`, also octal or decimal) or as words (`FRFX`).
fn mask(rights: &str) -> u32 {
    let number = match rights.strip_prefix("0x").or(rights.strip_prefix("0X")) {
        Some(hex) => Some(u32::from_str_radix(hex, 16)),
        None if rights.starts_with('0') => Some(u32::from_str_radix(rights, 8)),
        None if rights.starts_with(|c: char| c.is_ascii_digit()) => Some(rights.parse()),
        None => None,
    };
    match number {
        Some(number) => number.unwrap_or(u32::MAX),
        None => pairs(rights)
            .map(|word| {
                let known = RIGHTS.iter().find(|(name, _)| *name == word);
                known.map_or(u32::MAX, |(_, bits)| *bits)
            })
            .fold(0, |all, bits| all | bits),
    }
}

#[cfg(test)]
#[path = "descriptor_tests.rs"]
mod tests;
