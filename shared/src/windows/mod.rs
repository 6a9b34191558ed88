//! Owners and access control lists of files on Windows, through crates that wrap its functions safely.
//!
//! What follows from a list is decided in `descriptor`.

pub(crate) mod account;

use std::fs::File;
use std::io;
use std::path::Path;

use windows_permissions::constants::{SeObjectType, SecurityInformation};
use windows_permissions::wrappers::{
    ConvertSecurityDescriptorToStringSecurityDescriptor, GetNamedSecurityInfo,
    SetNamedSecurityInfo, SetSecurityInfo,
};
use windows_permissions::{LocalBox, SecurityDescriptor};

use crate::descriptor::{Access, Descriptor, Other, Trusted, Unreadable};

/// A list that grants everything to everyone, as SDDL shows one that is not there.
const NO_LIST: &str = "NO_ACCESS_CONTROL";

fn read(path: &Path, parts: SecurityInformation) -> io::Result<LocalBox<SecurityDescriptor>> {
    GetNamedSecurityInfo(path, SeObjectType::SE_FILE_OBJECT, parts)
}

fn text(descriptor: &SecurityDescriptor) -> io::Result<String> {
    let parts = SecurityInformation::Owner | SecurityInformation::Dacl;
    let text = ConvertSecurityDescriptorToStringSecurityDescriptor(descriptor, parts)?;
    Ok(text.to_string_lossy().trim_end_matches('\0').to_owned())
}

/// Owner and list of a file or folder, as SDDL.
pub(crate) fn sddl(path: &Path) -> io::Result<String> {
    text(&*read(
        path,
        SecurityInformation::Owner | SecurityInformation::Dacl,
    )?)
}

/// Owner and list of a file or folder.
pub(crate) fn descriptor(path: &Path) -> io::Result<Descriptor> {
    Descriptor::parse(&sddl(path)?).map_err(|Unreadable| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "it has permissions that this program does not understand",
        )
    })
}

/// Who else can read a file with a secret, and what to do about it, as a part of a sentence; `None`: only SYSTEM,
/// Administrators, this user, and services that were let in.
pub fn readable_by_others(path: &Path) -> io::Result<Option<String>> {
    let user = Trusted::users(account::user().cloned());
    let other = descriptor(path)?.open_to(Access::Read, &user);
    let Some(other) = other else {
        return Ok(None);
    };
    let who = match &other {
        Other::Owner(owner) => format!("belongs to {owner}"),
        Other::Granted(who) => format!("{who} can read it"),
        Other::Everyone => "everyone can read it".to_owned(),
    };
    let own = match account::owner_of_private_files() {
        Some(user) => format!(" *{}:F", user.as_str()),
        None => String::new(),
    };
    let path = path.display();
    let take = match &other {
        Other::Owner(_) => format!("`icacls \"{path}\" /setowner *S-1-5-32-544` and "),
        _ => String::new(),
    };
    Ok(Some(format!(
        "{who}: run {take}`icacls \"{path}\" /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F{own}`"
    )))
}

/// The rights with which a file is opened for [`protect_open`] and for writing: `GENERIC_WRITE`, `WRITE_DAC` and
/// `READ_CONTROL`.
pub(crate) const TO_PROTECT: u32 = 0x4000_0000 | 0x0004_0000 | 0x0002_0000;

/// The list of a new private file (SDDL, `D:P…`). Its folder says which services use it too.
pub(crate) fn private_list(path: &Path) -> io::Result<String> {
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(&absolute);
    Ok(descriptor(folder)?.private_file(account::owner_of_private_files()))
}

/// Gives a file that is open with the rights [`TO_PROTECT`] this list (SDDL, `D:P…`).
pub(crate) fn protect_open(file: &File, list: &str) -> io::Result<()> {
    let wanted: LocalBox<SecurityDescriptor> = list.parse()?;
    // A copy of the handle, since the crate wants one that it may change.
    let mut file = file.try_clone()?;
    SetSecurityInfo(
        &mut file,
        SeObjectType::SE_FILE_OBJECT,
        SecurityInformation::Dacl | SecurityInformation::ProtectedDacl,
        None,
        None,
        wanted.dacl(),
        None,
    )
}

/// Gives a file or folder this list (SDDL, `D:P…`), and to what is in a folder what it inherits from it.
pub(crate) fn protect(path: &Path, list: &str) -> io::Result<()> {
    let wanted: LocalBox<SecurityDescriptor> = list.parse()?;
    SetNamedSecurityInfo(
        path,
        SeObjectType::SE_FILE_OBJECT,
        SecurityInformation::Dacl | SecurityInformation::ProtectedDacl,
        None,
        None,
        wanted.dacl(),
        None,
    )
}

/// Gives the file at `to` the owner and the list of the one at `from`, in the same folder. Owners other than this user
/// and Administrators need a privilege, which SYSTEM and elevated programs have.
///
/// An owner that can't be set is left out if both owners, the old and the new one, are trusted with everything anyway
/// (SYSTEM, Administrators, the installer of Windows).
pub fn copy_security(from: &Path, to: &Path) -> io::Result<()> {
    let old = read(
        from,
        SecurityInformation::Owner | SecurityInformation::Group | SecurityInformation::Dacl,
    )?;
    let old_text = text(&old)?;
    copy_list(&old, &old_text, to)?;
    let has_owner = |sddl: &str, owner: &str| sddl.starts_with(owner);
    let owner = old_text.split("D:").next().unwrap_or_default();
    if has_owner(&sddl(to)?, owner) {
        return Ok(());
    }
    account::enable_restore();
    let set = SetNamedSecurityInfo(
        to,
        SeObjectType::SE_FILE_OBJECT,
        SecurityInformation::Owner,
        old.owner(),
        None,
        None,
        None,
    );
    let is_of_system = |path: &Path| descriptor(path).is_ok_and(|found| found.is_of_system());
    match set {
        Err(error) if !(is_of_system(from) && is_of_system(to)) => Err(error),
        _ => Ok(()),
    }
}

fn copy_list(old: &SecurityDescriptor, old_text: &str, to: &Path) -> io::Result<()> {
    let set = |how| {
        SetNamedSecurityInfo(
            to,
            SeObjectType::SE_FILE_OBJECT,
            SecurityInformation::Dacl | how,
            None,
            None,
            old.dacl(),
            None,
        )
    };
    if old_text.contains(NO_LIST) {
        // It can't be set through the crate; a new file's own list grants less.
        return Ok(());
    }
    let is_protected = old_text
        .split_once("D:")
        .is_some_and(|(_, list)| list.split('(').next().unwrap_or_default().contains('P'));
    if !is_protected {
        set(SecurityInformation::UnprotectedDacl)?;
        // What the old file had inherited from another folder, or before the folder's list was changed, is not
        // inherited again.
        let grants_as_old = Descriptor::parse(old_text)
            .is_ok_and(|old| descriptor(to).is_ok_and(|new| new.grants_as(&old)));
        if grants_as_old {
            return Ok(());
        }
    }
    set(SecurityInformation::ProtectedDacl)
}

#[cfg(test)]
mod tests;
