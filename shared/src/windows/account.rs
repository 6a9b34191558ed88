//! The user that runs this process.

use std::sync::OnceLock;

use winsafe::{HACCESSTOKEN, HPROCESS, LUID_AND_ATTRIBUTES, TOKEN_PRIVILEGES, TokenInfo, co};

use crate::descriptor::Sid;

/// The user, as descriptors name them; `None` if Windows does not tell.
pub(crate) fn user() -> Option<&'static Sid> {
    static USER: OnceLock<Option<Sid>> = OnceLock::new();
    USER.get_or_init(|| {
        let found = find_user();
        if found.is_none() {
            tracing::warn!("this process's user can't be found out: only files of Administrators and SYSTEM are trusted");
        }
        found
    })
    .as_ref()
}

fn find_user() -> Option<Sid> {
    let token = token(co::TOKEN::QUERY)?;
    let TokenInfo::User(user) = token
        .GetTokenInformation(co::TOKEN_INFORMATION_CLASS::User)
        .ok()?
    else {
        return None;
    };
    let sid = user.User.Sid()?.to_string();
    // Descriptors abbreviate some SIDs of the machine, such as that of its first administrator.
    let descriptor: windows_permissions::LocalBox<windows_permissions::SecurityDescriptor> =
        format!("O:{sid}D:").parse().ok()?;
    let text = super::text(&descriptor).ok()?;
    let owner = text.strip_prefix("O:")?.strip_suffix("D:")?;
    Some(Sid::new(owner))
}

fn token(access: co::TOKEN) -> Option<winsafe::guard::CloseHandleGuard<HACCESSTOKEN>> {
    HPROCESS::GetCurrentProcess().OpenProcessToken(access).ok()
}

/// Whether this process runs with the rights of an administrator.
fn is_elevated() -> bool {
    static ELEVATED: OnceLock<bool> = OnceLock::new();
    *ELEVATED.get_or_init(|| {
        let found = token(co::TOKEN::QUERY).and_then(|token| {
            token
                .GetTokenInformation(co::TOKEN_INFORMATION_CLASS::Elevation)
                .ok()
                .map(|found| match found {
                    TokenInfo::Elevation(elevation) => elevation.TokenIsElevated(),
                    _ => true,
                })
        });
        // In doubt, more is checked.
        found.unwrap_or(true)
    })
}

/// Whether this process may do more than other programs of the same person: a service, or elevated.
pub(crate) fn is_privileged() -> bool {
    is_elevated() || user().is_none_or(|user| user.is_service() || user.is_system())
}

/// The user, if their private files are for them alone. An elevated program makes them for Administrators: the user's
/// other programs have the same SID, and less rights.
pub(crate) fn owner_of_private_files() -> Option<&'static Sid> {
    user().filter(|user| user.is_service() || !is_elevated())
}

/// Enables the privilege to give files to others (SeRestorePrivilege), which SYSTEM and administrators have. Without it,
/// setting an owner fails, and says so.
pub(super) fn enable_restore() {
    let enable = || -> Result<(), co::ERROR> {
        let luid = winsafe::LookupPrivilegeValue(None, co::SE_PRIV::RESTORE_NAME)?;
        let wanted = [LUID_AND_ATTRIBUTES::new(luid, co::SE_PRIV_ATTR::ENABLED)];
        let wanted = TOKEN_PRIVILEGES::new(&wanted)?;
        HPROCESS::GetCurrentProcess()
            .OpenProcessToken(co::TOKEN::ADJUST_PRIVILEGES | co::TOKEN::QUERY)?
            .AdjustTokenPrivileges(winsafe::DisabPriv::Privs(&wanted))
    };
    if let Err(error) = enable() {
        tracing::debug!("the privilege to set owners can't be enabled: {error}");
    }
}
